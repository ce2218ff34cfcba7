//! Medians, and the table at the end.

use std::time::Duration;

/// One line of the table.
pub struct Line {
    pub what: &'static str,
    pub ours: String,
    pub peer: String,
    pub ratio: String,
    pub target: String,
    /// `None` for what is only told.
    pub met: Option<bool>,
    /// What exactly was measured.
    pub note: String,
}

impl Line {
    /// Told beside the others; no target.
    pub fn told(what: &'static str, peer: String, note: String) -> Self {
        let none = String::new;
        Self { what, ours: none(), peer, ratio: none(), target: none(), met: None, note }
    }
}

/// The middle value.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which this part of them lies.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    assert!(!sorted.is_empty(), "nothing was measured");
    let at = part * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

/// The median of each pair's ratio: both of a pair were measured one after the other.
pub fn median_ratio(ours: &[f64], peer: &[f64]) -> f64 {
    median(&ours.iter().zip(peer).map(|(ours, peer)| ours / peer).collect::<Vec<_>>())
}

pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub fn rate(per_second: f64) -> String {
    let whole = format!("{per_second:.0}");
    let split = whole.len().saturating_sub(3);
    if split == 0 { format!("{whole}/s") } else { format!("{},{}/s", &whole[..split], &whole[split..]) }
}

pub fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

pub fn ms(millis: f64) -> String {
    format!("{millis:.2} ms")
}

/// Prints all of it to standard output.
pub fn print(lines: &[Line], rounds: usize) {
    let met = |line: &Line| match line.met {
        Some(true) => "met",
        Some(false) => "NOT met",
        None => "",
    };
    let mut table = vec![["what", "ours", "peer", "ratio", "target", ""].map(str::to_owned)];
    table.extend(lines.iter().map(|line| {
        let what = line.what.to_owned();
        let cells = [&line.ours, &line.peer, &line.ratio, &line.target].map(Clone::clone);
        let [ours, peer, ratio, target] = cells;
        [what, ours, peer, ratio, target, met(line).to_owned()]
    }));
    let widths: Vec<usize> =
        (0..6).map(|n| table.iter().map(|row| row[n].chars().count()).max().unwrap_or(0)).collect();
    println!(
        "\nMedians of {rounds} alternating rounds in this run; ratios are to the peer of the same round.\n"
    );
    for (n, row) in table.iter().enumerate() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("| {} |", cells.collect::<Vec<_>>().join(" | "));
        if n == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            println!("| {} |", rules.join(" | "));
        }
    }
    println!();
    for line in lines {
        println!("{}: {}", line.what, line.note);
    }
}
