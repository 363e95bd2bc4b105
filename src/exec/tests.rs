//! The executor on three nodes in memory: what is left on the machines and in KV, whatever happens in between.

mod apps;
mod compose;
mod lab;
mod scenarios;
mod seams;
mod world;

mod crashes;
mod failures;
mod first;
mod heard;
mod intake;
mod interruptions;
mod lease;
mod lost;
mod mend;
mod migrate;
mod moves;
mod pick;
mod place;
mod projects;
mod queue;
mod recalled;
mod redeploy;
mod retention;
mod slots;
mod waits;
