//! Instances, and where a request would go.

use crate::api::view::{
    CandidateView, ExplanationView, InstanceView, PathView, StateCause, StateChangeView, StateView,
};
use crate::ctl::render::Detail;
use crate::ctl::table::{Table, list};
use crate::ctl::units::{count, or_dash, percent, scaled, time};

pub(super) fn instances(instances: &[InstanceView], detail: Detail) -> String {
    if detail == Detail::All {
        let texts: Vec<_> = instances.iter().map(in_full).collect();
        return texts.join("\n");
    }
    let mut table = Table::new(&[
        ">ID",
        "NAME",
        "STATE",
        "CLASSES",
        ">WAIT",
        ">RUN",
        ">KV",
        ">PENDING",
        ">IN FLIGHT",
        ">QUEUE",
        ">TOK/S",
        ">REPORT",
        ">LOST",
        ">DISPATCHES",
    ]);
    for of in instances {
        table.row(vec![
            of.id.to_string(),
            of.name.clone(),
            state_of(of),
            of.classes.join(","),
            of.waiting_requests.to_string(),
            of.running_requests.to_string(),
            percent(of.kv_used_ratio),
            count(u64::from(of.pending_tokens)),
            count(u64::from(of.in_flight_tokens)),
            time(of.queue_us),
            scaled(of.prefill_rate_tokens_s as f64),
            report_age(of),
            count(of.report.lost),
            count(of.dispatches),
        ]);
    }
    table.lines("no instances")
}

fn in_full(of: &InstanceView) -> String {
    let path = match &of.path {
        PathView::Encap { sid, port, mac } => format!("encap to {sid} by {port}, {mac}"),
        PathView::L2 { port, mac } => format!("l2 to {mac} by {port}"),
    };
    let report = match of.report.age_us {
        None => "never".to_owned(),
        Some(age_us) => format!("{} ago, number {}", time(age_us), of.report.seq),
    };
    list(&[
        ("instance", format!("{} ({})", of.name, of.id)),
        ("state", state_of(of)),
        ("slot", format!("{}, tenant {}", of.slot, of.incarnation)),
        ("classes", or_dash(Some(of.classes.join(", ")))),
        ("refuses", or_dash(Some(of.refuses.join(", ")))),
        ("labels", or_dash(Some(of.labels.join(", ")))),
        ("path", path),
        ("tunnel source", of.tunnel_source.to_string()),
        ("mtu", format!("{} bytes", of.mtu_bytes)),
        ("weight", of.weight.to_string()),
        (
            "prefill rate",
            format!("{} tokens/s", count(of.prefill_rate_tokens_s)),
        ),
        (
            "requests",
            format!(
                "{} running, {} waiting",
                of.running_requests, of.waiting_requests
            ),
        ),
        ("kv used", percent(of.kv_used_ratio)),
        (
            "pending",
            format!("{} tokens", count(u64::from(of.pending_tokens))),
        ),
        (
            "in flight",
            format!("{} tokens", count(u64::from(of.in_flight_tokens))),
        ),
        ("queue", time(of.queue_us)),
        ("pressure", time(u64::from(of.pressure_us))),
        ("last report", report),
        (
            "reports",
            format!(
                "{} received, {} lost",
                count(of.report.received),
                count(of.report.lost)
            ),
        ),
        ("dispatches", count(of.dispatches)),
    ])
}

/// An instance's state, and what it comes from.
pub(in crate::ctl) fn state_of(of: &InstanceView) -> String {
    let text = state(of.state, &of.causes);
    // Its last report says so; that is no state of the AFR's, and passes with the next.
    if of.state == StateView::Up && !of.available {
        text + ", refuses all"
    } else {
        text
    }
}

fn state(state: StateView, causes: &[StateCause]) -> String {
    let mut names: Vec<_> = causes.iter().map(|cause| cause.name()).collect();
    names.dedup();
    if names.is_empty() {
        state.name().to_owned()
    } else {
        format!("{} ({})", state.name(), names.join(", "))
    }
}

/// How old the last report is.
pub(in crate::ctl) fn report_age(of: &InstanceView) -> String {
    of.report.age_us.map_or_else(|| "never".to_owned(), time)
}

pub(super) fn change(change: &StateChangeView) -> String {
    let after = state(change.after, &change.causes);
    if change.before == change.after {
        format!("{} ({}): is {after}\n", change.instance, change.id)
    } else {
        let before = change.before.name();
        format!(
            "{} ({}): was {before}, is {after}\n",
            change.instance, change.id
        )
    }
}

pub(super) fn explanation(explanation: &ExplanationView) -> String {
    let mut head = vec![
        ("class", explanation.class.clone()),
        ("policy", explanation.policy.clone()),
        (
            "prompt",
            format!("{} tokens", count(u64::from(explanation.prompt_tokens))),
        ),
    ];
    if explanation.weight_per_mille > 1_000 {
        let [whole, part] = [1_000, 1].map(|unit| explanation.weight_per_mille / unit % 1_000);
        head.push(("new tokens", format!("count {whole}.{part:03} times")));
    }
    if let Some(objective_us) = explanation.objective_us {
        head.push(("objective", time(u64::from(objective_us))));
    }
    let mut table = Table::new(&[
        "",
        "INSTANCE",
        ">PENDING",
        ">IN FLIGHT",
        ">REUSED",
        ">QUEUE",
        ">PREFILL",
        ">PRESSURE",
        ">TOTAL",
        ">LATELY",
        ">COST",
        "OUT BECAUSE",
    ]);
    for candidate in &explanation.candidates {
        table.row(candidate_row(candidate, explanation.winner.as_deref()));
    }
    let winner = explanation.winner.as_deref().unwrap_or("nobody");
    format!(
        "{}\n{}\n{winner}: {}\n",
        list(&head),
        table.lines("no instances"),
        explanation.reason
    )
}

fn candidate_row(candidate: &CandidateView, winner: Option<&str>) -> Vec<String> {
    let is_winner = winner == Some(&*candidate.instance);
    vec![
        if is_winner { "*" } else { "" }.to_owned(),
        candidate.instance.clone(),
        count(u64::from(candidate.pending_tokens)),
        count(u64::from(candidate.in_flight_tokens)),
        count(u64::from(candidate.reuse_tokens)),
        time(candidate.queue_us),
        time(candidate.prefill_us),
        time(candidate.pressure_us),
        time(candidate.total_us),
        time(candidate.recent_us),
        time(candidate.cost_us),
        candidate.why_not.clone().unwrap_or_default(),
    ]
}
