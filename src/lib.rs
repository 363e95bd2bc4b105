//! Tandem: a masterless, event-driven deployment handler.
//!
//! The path of the data, and the folders that hold each part of it:
//!
//! ```text
//! Consul event ─ event ─▶ request ─ plan ─▶ steps ─ exec ─▶ host (git, compose, docker, volumes)
//!                                             │
//!                                             └──▶ consul (records, leases, app/ keys) ─ proxy ─▶ HAProxy, Caddy
//! ```
//!
//! `model`, `event`, `plan` and `check` are pure; `exec` carries plans out through the seams in `host` and `consul`;
//! `proxy` renders every node's proxies from KV; `records` is what is in KV; `overview` makes the cluster's picture of it;
//! `agent` wires all of it, and `cli` shows the picture.

pub mod agent;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod consul;
pub mod error;
pub mod event;
pub mod exec;
pub mod host;
pub mod model;
pub mod overview;
pub mod plan;
pub mod proxy;
pub mod records;
pub mod replication;
