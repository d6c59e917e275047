//! No metrics: see `meters.rs`.

use std::time::Duration;

use tokio::time::Instant;

use super::{End, Outcome, Woken};
use crate::error::LossCause;

#[inline]
pub(crate) fn describe() {}

pub(crate) struct Acquire;

impl Acquire {
    #[inline]
    pub(super) fn begin(_: &'static str) -> Self {
        Self
    }

    #[inline]
    pub(super) fn ended(self, _: Outcome) {}
}

#[derive(Debug)]
pub(crate) struct Waiting;

impl Waiting {
    #[inline]
    pub(crate) fn begin(_: &'static str) -> Self {
        Self
    }
}

#[inline]
pub(crate) fn hold_began(_: &'static str) {}

#[inline]
pub(crate) fn hold_ended(_: &'static str, _: Instant, _: End) {}

#[inline]
pub(crate) fn lost(_: &'static str, _: LossCause) {}

#[inline]
pub(crate) fn renewed(_: &'static str, _: Option<Duration>, _: Duration) {}

#[inline]
pub(crate) fn renewal_failed() {}

#[inline]
pub(super) fn woken(_: &'static str, _: Woken) {}

#[inline]
pub(crate) fn hand_over(_: &'static str) {}
