//! What one field compares, compiled.

mod cidr;
mod identity;
mod text;

pub(crate) use self::{
    cidr::{CidrSet, parse as parse_cidr},
    identity::{NamespacePattern, ServiceAccountPattern},
    text::{Presence, TextSet, lower_case},
};
