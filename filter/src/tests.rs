//! The whole filter against a proxy in memory, certificate to reply.

mod addresses;
mod deny_list;
mod forwarded;
mod inbound;
mod lifecycle;
mod open_streams;
mod policy_bundle;
mod reports;
mod shadow;
mod tcp;
mod tokens;
mod upstream;
mod world;
