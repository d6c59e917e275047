//! What several threads do at once; each function looks at every order of their steps.

pub mod bell;
pub mod hearing;
pub mod hold;
pub mod queue;
pub mod resting;

/// Every order with at most so many switches away from a thread that could go on.
fn every_order(scenario: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(scenario);
}
