//! The end of a run: everybody comes to rest, the books agree, and nothing is left.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::sleep;

use super::{
    super::taker::{NAME, PERMITS},
    LOOK, Run, Seat,
};
use crate::{
    engine::{Engine, Residue},
    lock::Kind,
    naming,
};

impl<K: Kind> Run<K> {
    pub(super) async fn check_residue(&self, client: usize, engine: &Arc<Engine>) {
        // What guards dropped just now have set off, and a release in the longest pause between two tries.
        let by = self.now() + 650;
        while engine.residue() != Residue::default() && self.now() < by {
            sleep(Duration::from_millis(25)).await;
        }
        let residue = engine.residue();
        if residue != Residue::default() {
            self.violated(format!("{client} leaves {residue:?}"));
        }
        let subscribed = self.shop.world.state().peers[client].subscribed.clone();
        if !subscribed.is_empty() {
            self.violated(format!("{client} still hears {subscribed:?}"));
        }
    }

    /// No more faults: everybody comes to an end, the books agree, and nothing is left.
    pub(super) async fn end(&mut self) {
        self.shop.world.change(|state| state.weather.calm_down());
        let seats = std::mem::take(&mut self.seats);
        let by = self.now() + 25_000;
        while !seats.iter().all(Seat::is_finished) {
            if self.now() > by {
                self.violated("a worker never ends".to_owned());
            }
            if self.failed() {
                return;
            }
            sleep(LOOK).await;
            self.shop.book.look();
        }
        let mut all = Vec::new();
        for mut seat in seats {
            let mut kept = Vec::new();
            for worker in seat.workers.drain(..) {
                match worker.await {
                    Ok(guards) => kept.extend(guards),
                    Err(error) => self.violated(format!("a worker failed: {error}")),
                }
            }
            all.push((seat, kept));
        }
        let mut permits = Vec::new();
        for (seat, _) in &mut all {
            for taker in seat.takers.drain(..) {
                match taker.await {
                    Ok(taken) => permits.extend(taken),
                    Err(error) => self.violated(format!("a taker failed: {error}")),
                }
            }
        }
        // What was in doubt is found out, what a crashed client left is over.
        self.until(self.now() + 7_000).await;
        self.check_counts();
        self.check_permits();
        for (id, permit) in permits {
            self.shop.book.gave(id);
            if self.dice.chance(500) {
                let _ = permit.release().await;
            }
        }
        self.until(self.now() + 100).await;
        self.check_permits();
        for (seat, kept) in all {
            if self.dice.chance(500) {
                let report = seat.engine.close(Duration::from_secs(3)).await;
                if !report.unreleased.is_empty() {
                    self.violated(format!("closing left {:?}", report.unreleased));
                }
                self.shop.book.forget(seat.client);
                drop(kept);
            } else {
                self.shop.book.forget(seat.client);
                for (_, guard) in kept {
                    if self.dice.chance(500) {
                        let _ = guard.unlock().await;
                    }
                }
                self.until(self.now() + 1_000).await;
                self.check_residue(seat.client, &seat.engine).await;
                seat.engine.close(Duration::from_secs(3)).await;
            }
            self.check_residue(seat.client, &seat.engine).await;
            let stats = seat.engine.counters.snapshot();
            self.grants += stats.grants;
            self.hand_overs += stats.hand_overs;
        }
        let state = self.shop.world.state();
        let counters = self
            .shop
            .names
            .iter()
            .map(|name| naming::fencing_counter(name));
        let mut counters: Vec<_> = counters.map(Bytes::from).collect();
        counters.push(Bytes::from_static(NAME.as_bytes()));
        // Those of clients that closed in trouble end by themselves.
        let marks = naming::mark_stem(NAME);
        let left: Vec<_> = state
            .server
            .keys()
            .filter(|key| !counters.contains(key) && !key.starts_with(marks.as_bytes()))
            .collect();
        if !left.is_empty() {
            let left = format!("{left:?} are left");
            drop(state);
            self.violated(left);
        }
    }

    /// No permit is lost, and none is there twice.
    fn check_permits(&self) {
        let name = Bytes::from_static(NAME.as_bytes());
        let there = self.shop.world.state().server.number(&name);
        let expected = self.permits.then(|| PERMITS - self.shop.book.permits());
        let fewer = self.permits_left && there < expected;
        if there != expected && !fewer {
            self.violated(format!("{there:?} permits are free, not {expected:?}"));
        }
    }

    /// What the server has is what its clients believe.
    fn check_counts(&self) {
        for name in &self.shop.names {
            let name = Bytes::from_static(name.as_bytes());
            let there = self.shop.world.state().server.fields(&name);
            let believed = self.shop.book.counts(&name);
            if there != believed {
                self.violated(format!(
                    "the server has {there:?}, its clients {believed:?}"
                ));
            }
        }
    }
}
