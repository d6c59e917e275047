//! `docs/operations.md` and `docs/grafana.json` name what the code emits, and all of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use redlatch_support::{Proxy, Server};

use crate::{
    kit::{Meter, asleep, close, connect, ms, plain, secs, series, waiting},
    promql::{Metric, faults},
};

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    std::fs::read_to_string(path).expect("a document")
}

/// The rows of the table whose head begins with these words, without the head.
fn table<'a>(document: &'a str, head: &[&str]) -> Vec<Vec<&'a str>> {
    let row = |line: &'a str| -> Vec<&'a str> {
        let cells = line.trim_matches('|').split(" | ");
        cells.map(|cell| cell.trim_matches([' ', '|'])).collect()
    };
    let lines = document.lines();
    let table = lines.skip_while(|line| !(line.starts_with('|') && row(line).starts_with(head)));
    let body = table.skip(2).take_while(|line| line.starts_with('|'));
    body.map(row).collect()
}

/// What stands in back quotes.
fn quoted(cell: &str) -> BTreeSet<String> {
    let words = cell.split('`').skip(1).step_by(2);
    words.map(str::to_owned).collect()
}

/// What is documented, by the name that Prometheus has for it.
fn documented() -> BTreeMap<String, Metric> {
    let text = document("operations.md");
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in table(&text, &["label", "values"]) {
        let label = quoted(row[0]).into_iter().next().expect("a label");
        // Up to what a value is explained with.
        values.entry(label).or_default().extend(quoted(row[1]));
    }
    let metrics = table(&text, &["metric", "type", "unit", "labels"]).into_iter();
    metrics
        .map(|row| {
            let name = row[0].trim_matches('`').replace('.', "_");
            let unit = if row[2] == "seconds" { "_seconds" } else { "" };
            let total = if row[1] == "counter" { "_total" } else { "" };
            let label = |label: String| {
                let known = values.get(&label).expect("a row in the table of labels");
                (label.clone(), known.clone())
            };
            let metric = Metric {
                kind: row[1].to_owned(),
                labels: quoted(row[3]).into_iter().map(label).collect(),
            };
            (format!("{name}{unit}{total}"), metric)
        })
        .collect()
}

/// Everything there is happens once.
async fn one_of_each(meter: &Meter) {
    let server = Server::start();
    let (direct, proxy) = (server.direct(), Proxy::start(server.port()).await);
    let client = connect(proxy.url(), |builder| {
        let builder = builder.watchdog_timeout(ms(1_500)).safety_poll(ms(1_000));
        // However long it was held before.
        builder
            .command_timeout(ms(300))
            .local_hand_over(64, secs(10))
    })
    .await;
    let other = plain(server.url()).await;

    // A renewal, a wake-up and a hand-over.
    let guard = client.lock("a").lock().await.expect("free");
    let renewed = |meter: &Meter| meter.sum("redlatch_renewals_total", &[]) > 0.0;
    meter.until("it is renewed", renewed).await;
    let (near, far) = (waiting(&client, "a"), waiting(&other, "a"));
    asleep(&client, 1).await;
    asleep(&other, 1).await;
    guard.unlock().await.expect("held");
    near.await.expect("granted");
    far.await.expect("granted");
    assert!(client.stats().hand_overs > 0);

    // A loss, and renewals that fail.
    let lost = client.lock("b").lock().await.expect("free");
    direct.cmd(&["DEL", "b"]);
    lost.lost().await;
    let silent = client.lock("c").lock().await.expect("free");
    proxy.black_hole(true);
    silent.lost().await;
    proxy.black_hole(false);
    drop((lost, silent));
    close(client).await;
    close(other).await;
}

#[tokio::test]
async fn every_metric_is_documented_with_its_type_unit_and_labels_and_none_besides() {
    let meter = Meter::install();
    one_of_each(&meter).await;
    let (page, documented) = (meter.page(), documented());
    let types: BTreeMap<_, _> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let expected: BTreeMap<_, _> = documented
        .iter()
        .map(|(name, metric)| (name.as_str(), metric.kind.as_str()))
        .collect();
    assert_eq!(types, expected);
    for name in types.keys() {
        assert!(
            page.contains(&format!("# HELP {name} ")),
            "{name} is described"
        );
    }
    for series in series(&page) {
        let name = documented.keys().find(|name| {
            let suffix = series.name.strip_prefix(name.as_str());
            suffix.is_some_and(|suffix| ["", "_bucket", "_sum", "_count"].contains(&suffix))
        });
        let metric = &documented[name.expect("documented")];
        let mut labels = series.labels.clone();
        labels.remove("le");
        let names: BTreeSet<_> = labels.keys().collect();
        assert_eq!(names, metric.labels.keys().collect(), "{series:?}");
        for (label, value) in &labels {
            assert!(metric.labels[label].contains(value), "{series:?}");
        }
    }
}

/// The expressions of the alert rules.
fn rules() -> Vec<String> {
    let text = document("operations.md");
    let (_, rules) = text.split_once("```yaml\n").expect("rules");
    let (rules, _) = rules.split_once("```").expect("an end");
    let mut found: Vec<String> = Vec::new();
    let mut inside = false;
    for line in rules.lines() {
        if let Some((_, expression)) = line.split_once(" expr: ") {
            inside = expression == ">-";
            let first = if inside { "" } else { expression };
            found.push(first.to_owned());
        } else if inside && line.starts_with("          ") {
            let last = found.last_mut().expect("one has begun");
            last.push_str(line);
        } else {
            inside = false;
        }
    }
    let alerts = rules.matches("- alert: ").count();
    assert_eq!(found.len(), alerts, "an expression for each alert");
    found
}

/// The expressions of the dashboard, those of its variables included.
fn dashboard() -> Vec<String> {
    let json = document("grafana.json");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let panels = json["panels"].as_array().expect("panels");
    let mut found = Vec::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(
            ids.insert(panel["id"].as_u64().expect("a number")),
            "{panel}"
        );
        if panel["type"] == "row" {
            continue;
        }
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{panel}");
        let expressions = targets.iter().map(|target| &target["expr"]);
        found.extend(expressions.map(|text| text.as_str().expect("text").to_owned()));
    }
    let variables = json["templating"]["list"].as_array().expect("variables");
    let queries = variables
        .iter()
        .filter(|variable| variable["type"] == "query");
    found.extend(queries.map(|variable| {
        let query = variable["query"]["query"].as_str();
        query.expect("text").to_owned()
    }));
    found
}

#[test]
fn alert_rules_and_the_dashboard_name_metrics_labels_and_values_that_there_are() {
    let documented = documented();
    let (rules, dashboard) = (rules(), dashboard());
    assert!(rules.len() >= 8 && dashboard.len() >= 20);
    for expression in rules.iter().chain(&dashboard) {
        let faults = faults(expression, &documented);
        assert!(faults.is_empty(), "{faults:?} in {expression}");
    }
    // Together they leave none out.
    let all = rules.concat() + &dashboard.concat();
    for name in documented.keys() {
        assert!(all.contains(name.as_str()), "nobody looks at {name}");
    }
}

#[test]
fn what_is_wrong_with_an_expression_is_found() {
    let documented = documented();
    for (expression, fault) in [
        ("rate(redlatch_loss_total[5m])", "redlatch_loss_total"),
        ("redlatch_acquire_duration_seconds", "suffix"),
        ("redlatch_losses_total{outcome=\"lost\"}", "outcome"),
        (
            "redlatch_losses_total{cause=~\"vanished|stolen\"}",
            "stolen",
        ),
        ("sum by (source) (redlatch_losses_total)", "source"),
        ("sum by (kind (redlatch_losses_total)", "parentheses"),
        ("vector(0)", "no metric"),
    ] {
        let faults = faults(expression, &documented);
        assert_eq!(faults.len(), 1, "{faults:?} in {expression}");
        assert!(faults[0].contains(fault), "{faults:?} in {expression}");
    }
}
