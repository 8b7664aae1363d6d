//! The whole filter against a proxy in memory, certificate to reply.

mod addresses;
mod deny_list;
mod inbound;
mod lifecycle;
mod upstream;
mod world;
