//! As much of PromQL as it takes to say what an expression is about.

use std::collections::{BTreeMap, BTreeSet};

/// A metric that there is.
pub(crate) struct Metric {
    /// Histogram, gauge or counter.
    pub(crate) kind: String,
    /// Its labels, with the values that they may have.
    pub(crate) labels: BTreeMap<String, BTreeSet<String>>,
}

/// What the one who scrapes adds to each series.
const OF_THE_SCRAPE: [&str; 1] = ["instance"];

/// A metric in an expression, and what is asked of its labels.
struct Selector<'a> {
    name: &'a str,
    labels: Vec<(&'a str, &'a str)>,
}

fn selectors(expression: &str) -> Vec<Selector<'_>> {
    let begins = expression.match_indices("redlatch_").map(|(at, _)| at);
    let of_name = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
    begins
        .map(|at| {
            let rest = &expression[at..];
            let end = rest.find(|byte| !of_name(byte)).unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            let matchers = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            // No value has a comma or a brace in it.
            let matchers = matchers.map_or("", |(matchers, _)| matchers).split(',');
            let labels = matchers.filter_map(|matcher| {
                let (label, value) = matcher.split_once('"')?;
                Some((
                    label.trim().trim_end_matches(['=', '!', '~']),
                    value.trim_end_matches('"'),
                ))
            });
            Selector {
                name,
                labels: labels.collect(),
            }
        })
        .collect()
}

/// The labels by which an expression sums, and those that are asked for.
fn groupings(expression: &str) -> Vec<&str> {
    let groups = expression.split("by (").skip(1);
    let labels = groups.filter_map(|group| Some(group.split_once(')')?.0.split(',')));
    labels.flatten().map(str::trim).collect()
}

/// What an expression names that there is not.
pub(crate) fn faults(expression: &str, metrics: &BTreeMap<String, Metric>) -> Vec<String> {
    let count = |bracket: char| expression.matches(bracket).count();
    if count('(') != count(')') || count('{') != count('}') || count('[') != count(']') {
        return vec!["parentheses do not match".to_owned()];
    }
    let mut faults = Vec::new();
    let selectors = selectors(expression);
    if selectors.is_empty() {
        faults.push("no metric".to_owned());
    }
    let mut known = BTreeSet::from(["le"]);
    for Selector { name, labels } in &selectors {
        let suffixes = ["_bucket", "_count", "_sum"];
        let base = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
        let (metric, histogram) =
            match (metrics.get(*name), base.and_then(|base| metrics.get(base))) {
                (Some(metric), _) => (metric, false),
                (None, Some(metric)) => (metric, true),
                (None, None) => {
                    faults.push(format!("there is no {name}"));
                    continue;
                }
            };
        if histogram != (metric.kind == "histogram") {
            faults.push(format!("{name} has a suffix too many or too few"));
        }
        known.extend(metric.labels.keys().map(String::as_str));
        for (label, values) in labels {
            let Some(there) = metric.labels.get(*label) else {
                if !OF_THE_SCRAPE.contains(label) {
                    faults.push(format!("{name} has no label {label}"));
                }
                continue;
            };
            // A variable stands for any.
            let values = values.split('|').filter(|value| !value.starts_with('$'));
            let odd = values.filter(|value| !there.contains(*value));
            faults.extend(odd.map(|value| format!("{label} is never {value}")));
        }
    }
    let odd = groupings(expression);
    let odd = odd.into_iter().filter(|label| !known.contains(label));
    if !selectors.is_empty() {
        faults.extend(odd.map(|label| format!("nothing has a label {label}")));
    }
    faults
}
