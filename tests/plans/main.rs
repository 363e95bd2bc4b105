//! The planner by property: every plan is carried out step by step on a model of a cluster, broken off at each of its
//! steps, and undone.
//!
//! [`world`] is what nodes and KV hold and what must hold at any moment, [`meaning`] what a step and its undo do to it,
//! [`run`] a deployment from its request to its outcome, [`table`] what each role must leave behind. [`each`] takes every
//! pair after every other, [`histories`] many events in a row, with nodes that are away.

#![allow(clippy::unwrap_used, reason = "tests")]

mod each;
mod histories;
mod meaning;
mod run;
mod table;
mod world;
