//! `redlatch doctor`: what endangers locks, on the server and in them. Looks, and tries rights on a name nobody uses.

mod locks;
mod rights;
mod settings;

use serde::Serialize;

use crate::{
    args::{At, Doctor},
    exit::{Code, Failure},
    print,
    server::Server,
};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Weight {
    /// Locks break or stay for ever.
    Problem,
    /// They may, under circumstances.
    Warning,
    /// Good to know.
    Note,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    weight: Weight,
    /// A word that stays the same for programs.
    check: &'static str,
    /// The lock, the server or the user.
    about: String,
    message: String,
    /// What can be done.
    advice: &'static str,
}

impl Finding {
    fn new(
        weight: Weight,
        check: &'static str,
        about: impl Into<String>,
        message: impl Into<String>,
        advice: &'static str,
    ) -> Self {
        Self {
            weight,
            check,
            about: about.into(),
            message: message.into(),
            advice,
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    /// Locks, semaphores and latches that were looked at.
    locks: usize,
    problems: usize,
    warnings: usize,
    findings: &'a [Finding],
}

pub(crate) async fn doctor(at: &At, doctor: &Doctor, json: bool) -> Result<Code, Failure> {
    let server = Server::look(at).await?;
    let outcome = examine(&server, doctor).await;
    server.close().await;
    let (locks, mut findings) = outcome?;
    findings.sort_by(|a, b| (a.weight, a.check, &a.about).cmp(&(b.weight, b.check, &b.about)));
    let count = |weight| findings.iter().filter(|one| one.weight == weight).count();
    let report = Report {
        locks,
        problems: count(Weight::Problem),
        warnings: count(Weight::Warning),
        findings: &findings,
    };
    if json {
        print::lines([print::json(&report)]);
    } else {
        print::lines(page(&report));
    }
    Ok(match (report.problems, report.warnings) {
        (0, 0) => Code::Done,
        (0, _) => Code::LooksOdd,
        _ => Code::Problem,
    })
}

async fn examine(server: &Server, doctor: &Doctor) -> Result<(usize, Vec<Finding>), Failure> {
    let mut findings = settings::examine(server).await?;
    findings.extend(rights::examine(server, &doctor.prefix).await?);
    let (locks, more) = locks::examine(server, &doctor.pattern).await?;
    findings.extend(more);
    Ok((locks, findings))
}

fn page(report: &Report<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in report.findings {
        let weight = match finding.weight {
            Weight::Problem => "problem",
            Weight::Warning => "warning",
            Weight::Note => "note",
        };
        let about = print::name(&finding.about);
        lines.push(format!(
            "{weight:<9}{}  {about}: {}",
            finding.check, finding.message
        ));
        lines.push(format!("{:<9}-> {}", "", finding.advice));
    }
    lines.push(format!(
        "{} locks looked at, {} problems, {} warnings",
        report.locks, report.problems, report.warnings
    ));
    lines
}
