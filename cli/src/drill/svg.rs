//! The pictures of a report, as SVG text. Pure. Colours come from the page's style sheet by class.

use super::report::{BIN_MS, Report, STEPS};
use crate::output::words::span;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 96.0;
const RIGHT: f64 = 20.0;

/// Text that may stand in XML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// From a moment of the drill to a place on the paper.
struct Scale {
    from_ms: u64,
    span_ms: f64,
}

impl Scale {
    fn of(report: &Report) -> Self {
        let span = report.ended_ms.saturating_sub(report.started_ms).max(1);
        Self {
            from_ms: report.started_ms,
            span_ms: to_float(span),
        }
    }

    fn x(&self, at_ms: u64) -> f64 {
        let after = to_float(at_ms.saturating_sub(self.from_ms)).min(self.span_ms);
        LEFT + after / self.span_ms * (WIDTH - LEFT - RIGHT)
    }
}

/// Milliseconds and counts of a drill are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "places on paper")]
fn to_float(value: u64) -> f64 {
    value as f64
}

fn picture(height: f64, title: &str, body: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\" preserveAspectRatio=\"xMidYMid meet\">\
         <title>{0}</title>\n{body}</svg>\n",
        escape(title)
    )
}

fn text(x: f64, y: f64, class: &str, anchor: &str, value: &str) -> String {
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{}</text>\n",
        escape(value)
    )
}

fn line(x1: f64, y1: f64, x2: f64, y2: f64, class: &str) -> String {
    format!(
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>\n"
    )
}

/// A round step of an axis, so that about this many fit.
fn step(span: f64, about: f64) -> f64 {
    let raw = (span / about).max(1.0);
    let power = 10_f64.powf(raw.log10().floor());
    let nice = [1.0, 2.0, 5.0, 10.0].into_iter().find(|n| n * power >= raw);
    nice.unwrap_or(10.0) * power
}

/// Grid lines and labels of the time axis.
fn time_axis(report: &Report, scale: &Scale, top: f64, bottom: f64) -> String {
    let seconds = scale.span_ms / 1_000.0;
    let every = step(seconds, 10.0);
    let mut out = String::new();
    let mut at = 0.0;
    while at <= seconds {
        let x = LEFT + at / seconds * (WIDTH - LEFT - RIGHT);
        out.push_str(&line(x, top, x, bottom, "grid"));
        out.push_str(&text(
            x,
            bottom + 18.0,
            "tick",
            "middle",
            &format!("{at:.0}s"),
        ));
        at += every;
    }
    out + &faults(report, scale, top, bottom)
}

fn faults(report: &Report, scale: &Scale, top: f64, bottom: f64) -> String {
    let mut out = String::new();
    let mut last_x = f64::MIN;
    for round in &report.rounds {
        let x = scale.x(round.at_ms);
        out.push_str(&line(x, top, x, bottom, "fault"));
        // Numbers that would lie upon each other are left out.
        if x - last_x > 16.0 {
            out.push_str(&text(
                x,
                top - 5.0,
                "faultno",
                "middle",
                &round.number.to_string(),
            ));
            last_x = x;
        }
    }
    out
}

/// Who led when: a lane for each replica, and the faults.
pub(super) fn leadership(report: &Report) -> String {
    let scale = Scale::of(report);
    let (top, lane) = (24.0, 34.0);
    let bottom = top + lane * to_float(report.replicas.len() as u64);
    let mut body = time_axis(report, &scale, top, bottom);
    for (row, name) in (0_u32..).zip(&report.replicas) {
        let y = top + lane * f64::from(row);
        body.push_str(&text(
            LEFT - 12.0,
            y + lane / 2.0 + 5.0,
            "lane",
            "end",
            name,
        ));
        body.push_str(&line(LEFT, y + lane, WIDTH - RIGHT, y + lane, "rule"));
        for reign in report.reigns.iter().filter(|reign| reign.name == *name) {
            let to_ms = reign.to_ms.unwrap_or(report.ended_ms).min(report.ended_ms);
            if to_ms < report.started_ms {
                continue;
            }
            let (from, to) = (scale.x(reign.from_ms), scale.x(to_ms));
            body.push_str(&format!(
                "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"4\" class=\"reign\">\
                 <title>{}</title></rect>\n",
                y + 6.0,
                (to - from).max(1.5),
                lane - 12.0,
                escape(&format!(
                    "{name} led in term {} for {} ({}); nobody led for {} before",
                    reign.term,
                    span(to_ms.saturating_sub(reign.from_ms)),
                    reign.cause,
                    span(reign.leaderless_ms)
                ))
            ));
            if to - from > 34.0 {
                let label = format!("term {}", reign.term);
                let label = if to - from > 64.0 {
                    label
                } else {
                    reign.term.to_string()
                };
                body.push_str(&text(
                    (from + to) / 2.0,
                    y + lane / 2.0 + 4.0,
                    "onbar",
                    "middle",
                    &label,
                ));
            }
        }
    }
    picture(bottom + 28.0, "Who led when", &body)
}

/// Committed records by the time at which they were emitted.
pub(super) fn output(report: &Report) -> String {
    let scale = Scale::of(report);
    let (top, bottom) = (24.0, 214.0);
    let per_second = |bin: u64| to_float(bin) * 1_000.0 / to_float(BIN_MS);
    let most = report
        .output_over_time
        .iter()
        .copied()
        .map(per_second)
        .fold(1.0, f64::max);
    let every = step(most, 4.0);
    let ceiling = (most / every).ceil() * every;
    let y = |rate: f64| bottom - rate / ceiling * (bottom - top);
    let mut body = String::new();
    let mut level = 0.0;
    while level <= ceiling {
        body.push_str(&line(LEFT, y(level), WIDTH - RIGHT, y(level), "rule"));
        body.push_str(&text(
            LEFT - 10.0,
            y(level) + 4.0,
            "tick",
            "end",
            &format!("{level:.0}/s"),
        ));
        level += every;
    }
    body.push_str(&time_axis(report, &scale, top, bottom));
    let mut area = format!("M{LEFT:.1},{bottom:.1}");
    for (bin, records) in (0_u64..).zip(&report.output_over_time) {
        let (from, to) = (
            scale.x(report.started_ms + bin * BIN_MS),
            scale.x(report.started_ms + (bin + 1) * BIN_MS),
        );
        let at = y(per_second(*records));
        area.push_str(&format!("L{from:.1},{at:.1}L{to:.1},{at:.1}"));
    }
    let end = scale.x(report.started_ms + report.output_over_time.len() as u64 * BIN_MS);
    area.push_str(&format!("L{end:.1},{bottom:.1}Z"));
    body.push_str(&format!("<path d=\"{area}\" class=\"area\"/>\n"));
    picture(
        bottom + 28.0,
        "Records per second of the checking job",
        &body,
    )
}

/// Each round's steps as dots on one axis, with the median marked.
pub(super) fn recovery(report: &Report) -> String {
    let shown: Vec<_> = STEPS
        .iter()
        .filter(|(name, ..)| report.steps.iter().any(|step| step.name == *name))
        .collect();
    let slowest = report
        .steps
        .iter()
        .map(|step| step.spread.max_ms)
        .max()
        .unwrap_or(1);
    let every = step(to_float(slowest.max(1)), 8.0);
    let ceiling = (to_float(slowest.max(1)) / every).ceil() * every;
    let left = 130.0;
    let x = |ms: f64| left + ms / ceiling * (WIDTH - left - RIGHT - 10.0);
    let (top, lane) = (12.0, 30.0);
    let bottom = top + lane * to_float(shown.len() as u64);
    let mut body = String::new();
    let mut level = 0.0;
    while level <= ceiling {
        body.push_str(&line(x(level), top, x(level), bottom, "grid"));
        let label = span(round_ms(level));
        body.push_str(&text(x(level), bottom + 18.0, "tick", "middle", &label));
        level += every;
    }
    for (row, (name, _, figure)) in (0_u32..).zip(shown) {
        let y = top + lane * (f64::from(row) + 0.5);
        body.push_str(&text(left - 14.0, y + 5.0, "lane", "end", name));
        body.push_str(&line(left, y, WIDTH - RIGHT, y, "rule"));
        for round in &report.rounds {
            if let Some(ms) = figure(round) {
                body.push_str(&format!(
                    "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\" class=\"dot\"><title>{}</title></circle>\n",
                    x(to_float(ms)),
                    escape(&format!("round {}: {name} after {}", round.number, span(ms)))
                ));
            }
        }
        let median = report.steps.iter().find(|step| step.name == *name);
        if let Some(step) = median {
            let at = x(to_float(step.spread.p50_ms));
            body.push_str(&line(at, y - 10.0, at, y + 10.0, "median"));
        }
    }
    picture(bottom + 28.0, "Each round's recovery, step by step", &body)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a label of an axis that begins at 0"
)]
fn round_ms(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn the_pictures_have_lanes_faults_and_every_round() {
        let report = report();
        let led = leadership(&report);
        assert_eq!(led.matches("class=\"reign\"").count(), 2, "{led}");
        assert_eq!(led.matches("class=\"fault\"").count(), 3);
        assert!(led.contains("jm-2 led in term 2"));
        assert_eq!(recovery(&report).matches("<circle").count(), 8 * 3);
        assert!(output(&report).contains("class=\"area\""));
    }

    #[test]
    fn an_empty_report_still_draws() {
        let mut empty = report();
        empty.rounds.clear();
        empty.steps.clear();
        empty.reigns.clear();
        empty.output_over_time.clear();
        empty.ended_ms = empty.started_ms;
        for drawn in [leadership(&empty), output(&empty), recovery(&empty)] {
            assert!(
                drawn.starts_with("<svg") && !drawn.contains("NaN"),
                "{drawn}"
            );
        }
    }

    #[test]
    fn names_cant_break_out_of_the_picture() {
        assert_eq!(escape("<a b=\"c\">&"), "&lt;a b=&quot;c&quot;&gt;&amp;");
        let mut odd = report();
        odd.replicas[0] = "<script>".to_owned();
        assert!(!leadership(&odd).contains("<script>"));
    }

    #[test]
    fn axes_have_round_steps() {
        assert_eq!(
            [
                step(100.0, 10.0),
                step(83.0, 10.0),
                step(730.0, 8.0),
                step(0.5, 10.0)
            ],
            [10.0, 10.0, 100.0, 1.0]
        );
    }
}
