//! No spans: see `spans.rs`.

use std::sync::Arc;

use super::Outcome;
use crate::{
    engine::transport::{Fault, Reply, Request},
    error::{Error, Result},
    events::Event,
};

pub(crate) type Within<F> = F;

pub(crate) struct Span;

impl Span {
    #[inline]
    pub(crate) fn within<F: Future>(&self, future: F) -> Within<F> {
        future
    }

    #[inline]
    pub(crate) fn answered(&self, _: &Result<Reply, Fault>) {}

    #[inline]
    pub(crate) fn ended(&self, _: &Result<()>) {}
}

#[inline]
pub(crate) fn request(_: &Request) -> Span {
    Span
}

#[inline]
pub(crate) fn release(_: &'static str, _: &Arc<str>) -> Span {
    Span
}

pub(super) struct Acquire;

impl Acquire {
    #[inline]
    pub(super) fn begin(_: &'static str, _: &Arc<str>) -> Self {
        Self
    }

    #[inline]
    pub(super) fn within<F: Future>(&self, future: F) -> Within<F> {
        future
    }

    #[inline]
    pub(super) fn ended(self, _: Outcome, _: Option<&Error>) {}
}

#[inline]
pub(crate) fn hears_events() -> bool {
    false
}

#[inline]
pub(crate) fn event(_: &Event) {}
