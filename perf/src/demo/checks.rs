//! What must hold at the end of the demo.

use super::accounts::Accounts;
use super::outcome::{Check, Outcome, Policy};

/// Everything that is claimed of these runs, decided. `accounts` are `afrd`'s own, one a run.
#[must_use]
pub(super) fn decide(outcomes: &[Outcome], accounts: &[Accounts]) -> Vec<Check> {
    let mut checks = Vec::new();
    let of = |policy| outcomes.iter().find(|outcome| outcome.policy == policy);
    if let Some(afr) = of(Policy::Afr) {
        for other in [Policy::Maglev, Policy::LeastLoad]
            .into_iter()
            .filter_map(of)
        {
            beats(&mut checks, afr, other);
        }
    }
    for (outcome, accounts) in outcomes.iter().zip(accounts) {
        let name = outcome.policy.name();
        let mut claim = |what: String, ok| {
            let name = format!("{name}: {what}");
            checks.push(Check { name, ok });
        };
        claim(
            format!(
                "{} requests reached an instance without the capability",
                outcome.misdispatched
            ),
            outcome.misdispatched == 0,
        );
        claim(
            format!("{} connections broken", outcome.broken),
            outcome.broken == 0,
        );
        claim(
            format!(
                "{} frames received = {} forwarded + {} punted or answered + {} dropped",
                accounts.received, accounts.forwarded, accounts.punted, accounts.dropped
            ),
            accounts.balance(),
        );
        claim(
            format!(
                "{} dispatches for {} connections",
                accounts.dispatched, outcome.requests
            ),
            accounts.dispatched == outcome.requests,
        );
    }
    checks
}

fn beats(checks: &mut Vec<Check>, afr: &Outcome, other: &Outcome) {
    let against = other.policy.name();
    let (ours, theirs) = (afr.ttft_ms, other.ttft_ms);
    let mut claim = |what: String, ok| {
        let name = format!("AFR beats {against} on {what}");
        checks.push(Check { name, ok });
    };
    claim(
        format!("TTFT mean: {:.0} < {:.0} ms", ours.mean, theirs.mean),
        ours.mean < theirs.mean,
    );
    claim(
        format!("TTFT p99: {:.0} < {:.0} ms", ours.p99, theirs.p99),
        ours.p99 < theirs.p99,
    );
    let (ours, theirs) = (afr.prefill_saved * 100.0, other.prefill_saved * 100.0);
    claim(
        format!("prefill saved: {ours:.1} > {theirs:.1} %"),
        ours > theirs,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::outcome::tests::outcome;

    fn accounts() -> Accounts {
        Accounts {
            received: 10,
            forwarded: 7,
            punted: 1,
            dropped: 2,
            dispatched: 3,
        }
    }

    fn failed(outcomes: &[Outcome], accounts: &[Accounts]) -> Vec<String> {
        let failed = decide(outcomes, accounts)
            .into_iter()
            .filter(|check| !check.ok);
        failed.map(|check| check.name).collect()
    }

    /// Three runs of which the last is the best.
    fn good() -> Vec<Outcome> {
        let mut outcomes = Policy::ALL.map(outcome).to_vec();
        outcomes[2].ttft_ms.mean = 100.0;
        outcomes[2].ttft_ms.p99 = 400.0;
        outcomes[2].prefill_saved = 0.4;
        outcomes
    }

    #[test]
    fn good_runs_pass() {
        let good = good();
        let checks = decide(&good, &[accounts(), accounts(), accounts()]);
        assert_eq!(checks.len(), 6 + 3 * 4);
        assert!(checks.iter().all(|check| check.ok), "{checks:?}");
    }

    #[test]
    fn each_way_to_fail_is_named() {
        type Spoil = fn(&mut Vec<Outcome>, &mut Vec<Accounts>);
        let ways: [(&str, Spoil); 7] = [
            ("beats least-load on TTFT mean", |o, _| {
                o[1].ttft_ms.mean = 90.0;
            }),
            ("beats maglev on TTFT p99", |o, _| o[0].ttft_ms.p99 = 400.0),
            ("beats maglev on prefill saved", |o, _| {
                o[0].prefill_saved = 0.5;
            }),
            ("maglev: 1 requests reached", |o, _| o[0].misdispatched = 1),
            ("afr: 2 connections broken", |o, _| o[2].broken = 2),
            ("least-load: 11 frames received", |_, a| a[1].received = 11),
            ("afr: 4 dispatches for 3", |_, a| a[2].dispatched = 4),
        ];
        for (expected, spoil) in ways {
            let (mut outcomes, mut all) = (good(), vec![accounts(); 3]);
            spoil(&mut outcomes, &mut all);
            let failed = failed(&outcomes, &all);
            assert!(
                failed.len() == 1 && failed[0].contains(expected),
                "{expected}: {failed:?}"
            );
        }
    }
}
