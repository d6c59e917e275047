//! Memory of this process over time.

/// More than this is growth: as a share of what there was, and in KiB.
const GROWTH: (f64, f64) = (0.10, 4096.0);

/// KiB resident, once a second.
#[derive(Debug, Default)]
pub(crate) struct Meter(Vec<f64>);

impl Meter {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn sample(&mut self) {
        self.0.extend(resident());
    }

    pub(crate) fn now(&self) -> String {
        self.0
            .last()
            .map_or_else(String::new, |kib| format!("{:.1} MiB", kib / 1024.0))
    }

    /// Compares the last third with the one before; the first third is warm-up.
    pub(crate) fn verdict(&self) -> Result<String, String> {
        let third = self.0.len() / 3;
        if third < 5 {
            return Ok("memory: too short a run, or not known here".to_owned());
        }
        let middle = median(&self.0[third..2 * third]);
        let last = median(&self.0[2 * third..]);
        let slope = slope(&self.0[third..]) * 60.0;
        let line = format!(
            "memory: {middle:.0} KiB in the middle third, {last:.0} KiB in the last; slope {slope:+.0} KiB a minute"
        );
        let limit = (middle * GROWTH.0).max(GROWTH.1);
        if last - middle > limit {
            Err(line)
        } else {
            Ok(line)
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// By least squares, for each step from one value to the next.
fn slope(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let (mean_x, mean_y) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
    let (mut over, mut under) = (0.0, 0.0);
    for (x, y) in values.iter().enumerate() {
        let x = x as f64 - mean_x;
        over += x * (y - mean_y);
        under += x * x;
    }
    over / under
}

fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}
