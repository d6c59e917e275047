//! A recorder for one test, and what it has seen.

use std::{collections::BTreeMap, time::Duration};

use metrics::LocalRecorderGuard;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use redlatch::{Client, ClientBuilder};
use redlatch_support::{NOTHING_LEFT, eventually_async};
use tokio::task::JoinHandle;

use crate::watch;

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// One line of a page: a series and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// A page of metrics, as Prometheus reads it.
pub(crate) fn series(page: &str) -> Vec<Series> {
    let lines = page.lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').expect("a brace");
            let label = |label: &str| {
                let (name, value) = label.split_once('=').expect("a value");
                (name.to_owned(), value.trim_matches('"').to_owned())
            };
            Series {
                name: name.to_owned(),
                labels: labels
                    .split(',')
                    .filter(|label| !label.is_empty())
                    .map(label)
                    .collect(),
                value: value.parse().expect("a number"),
            }
        })
        .collect()
}

/// The recorder of this thread, until this is dropped.
pub(crate) struct Meter {
    handle: PrometheusHandle,
    _set: LocalRecorderGuard<'static>,
}

impl Meter {
    pub(crate) fn install() -> Self {
        // There before any span begins, so that none is taken for one that nobody wants.
        watch::listen();
        let builder = PrometheusBuilder::new().with_recommended_naming(true);
        let builder = builder.set_buckets(&[0.01, 1.0]).expect("buckets");
        let recorder = Box::leak(Box::new(builder.build_recorder()));
        Self {
            handle: recorder.handle(),
            _set: metrics::set_default_local_recorder(recorder),
        }
    }

    pub(crate) fn page(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// The sum over all series of this name that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let all = series(&self.page()).into_iter();
        all.filter(|series| {
            let has = |(name, value): &(&str, &str)| {
                series.labels.get(*name).is_some_and(|seen| seen == value)
            };
            series.name == name && labels.iter().all(has)
        })
        .map(|series| series.value)
        .sum()
    }

    /// Acquires that ended so.
    pub(crate) fn acquires(&self, kind: &str, outcome: &str) -> f64 {
        let labels = [("kind", kind), ("outcome", outcome)];
        self.sum("redlatch_acquire_duration_seconds_count", &labels)
    }

    /// Holds that ended so.
    pub(crate) fn ends(&self, outcome: &str) -> f64 {
        let name = "redlatch_hold_duration_seconds_count";
        self.sum(name, &[("outcome", outcome)])
    }

    pub(crate) fn holds(&self) -> f64 {
        self.sum("redlatch_hold_active", &[])
    }

    pub(crate) fn waiters(&self) -> f64 {
        self.sum("redlatch_waiter_active", &[])
    }

    pub(crate) fn woken_by(&self, source: &str) -> f64 {
        self.sum("redlatch_wakeups_total", &[("source", source)])
    }

    /// Waits until a figure is what it should be.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begun = std::time::Instant::now();
        while !holds(self) {
            let page = || self.page();
            assert!(begun.elapsed() < secs(10), "{what}, in vain:\n{}", page());
            tokio::time::sleep(ms(2)).await;
        }
    }
}

pub(crate) async fn connect(
    url: impl AsRef<str>,
    settings: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Client {
    let builder = Client::builder().url(url).expect("url");
    settings(builder).connect().await.expect("connects")
}

pub(crate) async fn plain(url: impl AsRef<str>) -> Client {
    connect(url, |builder| builder).await
}

pub(crate) async fn close(client: Client) {
    let report = client.close(secs(10)).await;
    assert!(report.unreleased.is_empty(), "{report:?}");
    assert_eq!(client.residue(), NOTHING_LEFT);
}

/// A task that waits for a lock, takes it and gives it back.
pub(crate) fn waiting(client: &Client, name: &str) -> JoinHandle<()> {
    let lock = client.lock(name).with_owner(redlatch::Owner::fresh());
    tokio::spawn(async move {
        let guard = lock.lock().wait(secs(20)).await.expect("granted");
        guard.unlock().await.expect("held");
    })
}

/// Waits until so many of this client sleep.
pub(crate) async fn asleep(client: &Client, count: usize) {
    let sleepers = format!("sleepers: {count},");
    eventually_async("the waiters sleep", secs(10), async || {
        client.residue().contains(&sleepers)
    })
    .await;
}
