//! The report as one HTML file that needs no network: figures, pictures, every round. Pure.

use super::report::Report;
use super::rounds::Round;
use super::svg::{self, escape};
use crate::output::words::{count, moment, or_dash, plural, span};

const STYLE: &str = include_str!("report.css");

pub(super) fn page(report: &Report) -> String {
    let (class, verdict) = match report.passed {
        true => ("passed", "Passed"),
        false => ("failed", "Failed"),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}: {verdict}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header class=\"{class}\"><p class=\"kind\">Drill</p><h1>{title}</h1>\
         <p class=\"verdict\">{verdict}</p><p>{what}, {rounds}. Demanded: {demanded}.</p>{why}</header>\n\
         {cards}\n\
         <section><h2>Recovery</h2>{steps}<figure>{recovery}<figcaption>One dot for each round; the bar is the \
         median.</figcaption></figure></section>\n\
         <section><h2>Leadership</h2><figure>{leadership}<figcaption>Who led when. Dashed lines are the faults, by \
         round. Hover a bar for its term.</figcaption></figure></section>\n\
         <section><h2>Output of the checking job</h2><figure>{output}<figcaption>Committed records by the moment \
         at which the source emitted them. A gap is time in which nothing was processed.</figcaption></figure>\
         </section>\n<section><h2>Rounds</h2>{table}</section>\n{footer}\n</main>\n</body>\n</html>\n",
        title = escape(report.scenario),
        what = escape(&report.deed()),
        rounds = plural(report.rounds_asked, "round"),
        demanded = escape(&report.demanded()),
        why = failures(report),
        cards = cards(report),
        steps = steps(report),
        recovery = svg::recovery(report),
        leadership = svg::leadership(report),
        output = svg::output(report),
        table = rounds(report),
        footer = footer(report),
    )
}

fn failures(report: &Report) -> String {
    if report.failures.is_empty() {
        return String::new();
    }
    let items: Vec<String> = report
        .failures
        .iter()
        .map(|f| format!("<li>{}</li>", escape(f)))
        .collect();
    format!("<ul class=\"why\">{}</ul>", items.concat())
}

fn cards(report: &Report) -> String {
    let spread = report
        .steps
        .iter()
        .find(|step| step.name == "recovered")
        .map(|step| step.spread);
    let of = |figure: fn(super::figures::Spread) -> u64| or_dash(spread.map(figure).map(span));
    let bad = |number: u64| if number > 0 { " bad" } else { "" };
    let output = &report.output;
    let card = |class: &str, value: &str, label: &str| {
        format!(
            "<div class=\"card{class}\"><b>{}</b><span>{label}</span></div>",
            escape(value)
        )
    };
    let cards = [
        card("", &of(|s| s.p50_ms), "recovered, median"),
        card("", &of(|s| s.max_ms), "recovered, worst"),
        card("", &count(output.records), "records committed"),
        card(bad(output.lost), &count(output.lost), "lost"),
        card(
            bad(output.duplicated),
            &count(output.duplicated),
            "duplicated",
        ),
        card(
            bad(output.miscounted),
            &count(output.miscounted),
            "counted wrong",
        ),
    ];
    format!("<div class=\"cards\">{}</div>", cards.concat())
}

fn steps(report: &Report) -> String {
    let row = |step: &super::report::Step| {
        let s = step.spread;
        format!(
            "<tr><th scope=\"row\">{}<small>{}</small></th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(step.name),
            escape(step.means),
            s.n,
            span(s.p50_ms),
            span(s.p99_ms),
            span(s.max_ms)
        )
    };
    let rows: Vec<String> = report.steps.iter().map(row).collect();
    format!(
        "<div class=\"scroll\"><table><thead><tr><th>after the fault</th><th>n</th><th>p50</th><th>p99</th>\
         <th>max</th></tr></thead><tbody>{}</tbody></table></div>",
        rows.concat()
    )
}

fn rounds(report: &Report) -> String {
    let row = |round: &Round| {
        let seen = &round.recovery;
        let cell = |ms: Option<u64>| format!("<td>{}</td>", or_dash(ms.map(span)));
        let problem = round.problem.as_ref().map_or_else(String::new, |p| {
            format!(
                "<tr class=\"problem\"><td colspan=\"8\">{}</td></tr>",
                escape(p)
            )
        });
        format!(
            "<tr><th scope=\"row\">{}</th><td class=\"name\">{}<small>{}</small></td>{}{}{}{}<td class=\"name\">{}</td>{}</tr>{problem}",
            round.number,
            escape(&round.victim),
            round.role,
            cell(seen.detected_ms),
            cell(seen.elected_ms),
            cell(seen.first_write_ms),
            cell(seen.jobs_running_ms),
            or_dash(seen.how),
            cell(seen.first_checkpoint_ms)
        )
    };
    let rows: Vec<String> = report.rounds.iter().map(row).collect();
    format!(
        "<div class=\"scroll\"><table><thead><tr><th>#</th><th class=\"name\">hurt</th><th>detected</th><th>elected</th>\
         <th>write</th><th>running</th><th class=\"name\">how</th><th>checkpoint</th></tr></thead><tbody>{}</tbody></table></div>",
        rows.concat()
    )
}

fn footer(report: &Report) -> String {
    format!(
        "<footer><p>{} to {} ({}). Regent {}, {}. Cluster {}.</p></footer>",
        moment(report.started_ms),
        moment(report.ended_ms),
        span(report.ended_ms.saturating_sub(report.started_ms)),
        report.version,
        escape(&report.machine),
        escape(&or_dash(report.cluster_id.clone()))
    )
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn the_page_is_whole_and_asks_nobody() {
        let html = page(&report());
        assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
        for outside in ["http://", "https://", "<script", "<link", "url(", "@import"] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert_eq!(html.matches("<svg").count(), 3);
        assert!(html.contains("Passed") && html.contains("20,000"));
    }

    #[test]
    fn a_failure_says_why() {
        let mut report = report();
        report.passed = false;
        report.failures = vec!["rto <1s> was missed".to_owned()];
        report.output.lost = 2;
        let html = page(&report);
        assert!(html.contains("<li>rto &lt;1s&gt; was missed</li>"));
        assert!(html.contains("card bad"));
    }
}
