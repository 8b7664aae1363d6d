//! What one field compares, compiled.

mod certificate;
mod cidr;
mod identity;
mod request_principal;
mod shape;
mod sorted;
mod template;
mod text;

pub(crate) use self::{
    certificate::{CertificateTest, KeyBits},
    cidr::{CidrSet, parse as parse_cidr},
    identity::{NamespaceSet, ServiceAccountPattern, SlashPrincipal, segments_after},
    request_principal::{RequestPrincipalClaims, RequestPrincipalPattern},
    shape::{Running, Shape},
    template::{PathSet, PathTemplate},
    text::{Presence, TextPattern, TextSet},
};
