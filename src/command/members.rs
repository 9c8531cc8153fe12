//! Which members of the running cluster a command uses.

use bytesize::ByteSize;

use crate::config::EtcdConfig;
use crate::etcd::{self, Survey};
use crate::exit::{Exit, Failure};
use crate::member::{self, Choice, Member, NoMember, Refusal};
use crate::url::Url;

/// Asks the members and ranks them. `on_refused` is given those that are not used, even when none can be.
pub async fn choose(etcd: &EtcdConfig, mut on_refused: impl FnMut(&[Refusal])) -> Result<Choice, Failure> {
    let source = &etcd.endpoints.source;
    tracing::info!(%source, "looking for members at {}", list(&etcd.endpoints.urls));
    let mut survey = etcd::survey(etcd).await;
    // While a new leader is elected, a healthy cluster looks as if it had lost its quorum.
    if survey.lacks_quorum() {
        tracing::warn!("no quorum; asking once more, in case a leader is being elected");
        survey = etcd::survey(etcd).await;
    }
    if survey.members.iter().any(|m| m.no_space) {
        tracing::warn!(
            "NOSPACE alarm: the cluster accepts no writes; compact and defragment it, then disarm the alarm"
        );
    }
    on_refused(&survey.refused);
    let ranked = member::rank(survey.members.clone(), etcd.strict);
    let unfit = match &ranked {
        Ok(Choice { refused, .. }) | Err(NoMember::AllRefused(refused)) => refused.as_slice(),
        Err(NoMember::SeveralClusters(_) | NoMember::OnlyDegraded(_)) => &[],
    };
    on_refused(unfit);
    let best = ranked.as_ref().map_or(&[][..], |choice| &choice.members);
    log_members(&survey, best, unfit);
    if let Ok(Choice { degraded: Some(why), .. }) = &ranked {
        tracing::warn!("degraded: {why}; taking the best snapshot that can be had");
    }
    ranked.map_err(|error| no_member(error, &survey, source))
}

fn no_member(error: NoMember, survey: &Survey, source: &str) -> Failure {
    match error {
        NoMember::SeveralClusters(_) => Failure::new(Exit::Settings, error),
        NoMember::OnlyDegraded(_) => Failure::new(Exit::NoMember, error),
        NoMember::AllRefused(learners) => {
            let reasons: Vec<_> =
                survey.refused.iter().chain(&learners).map(|r| format!("{}: {}", r.endpoint, r.reason)).collect();
            // A learner that answered shows that certificates and permissions are right.
            let exit = survey.exit.filter(|_| learners.is_empty()).unwrap_or(Exit::NoMember);
            Failure::message(exit, format!("no member of {source} can be used: {}", reasons.join("; ")))
        }
    }
}

fn log_members(survey: &Survey, best: &[Member], unfit: &[Refusal]) {
    let newest = survey.members.iter().map(|m| m.applied_index).max().unwrap_or_default();
    for m in &survey.members {
        let rank = match best.iter().position(|b| b.id == m.id) {
            Some(0) => "chosen".to_owned(),
            Some(n) => format!("spare {n}"),
            None => "refused".to_owned(),
        };
        let refused = unfit.iter().find(|r| r.endpoint == m.endpoint).map(|r| r.reason.clone());
        let behind = newest.saturating_sub(m.applied_index);
        let reason = refused.unwrap_or_else(|| format!("{}, {behind} entries behind the newest", m.role));
        tracing::info!(
            version = m.version, role = %m.role, size = %ByteSize(m.db_size), applied = m.applied_index,
            round_trip_ms = m.round_trip.as_millis(), verdict = rank, reason, "member {}", m.endpoint
        );
    }
    for refusal in &survey.refused {
        tracing::warn!(verdict = "refused", reason = refusal.reason, "member {}", refusal.endpoint);
    }
}

fn list(endpoints: &[Url]) -> String {
    endpoints.iter().map(Url::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(endpoint: &str, reason: &str) -> Refusal {
        Refusal { endpoint: endpoint.parse().unwrap(), reason: reason.into() }
    }

    #[test]
    fn every_endpoint_is_named_with_its_reason() {
        let refused = vec![refusal("https://a:1", "connection refused")];
        let survey = Survey { refused, exit: Some(Exit::Denied), ..Survey::default() };
        let failure =
            no_member(NoMember::AllRefused(vec![refusal("https://b:1", "is a learner")]), &survey, "the flags");
        assert_eq!(
            failure.one_line(),
            "no member of the flags can be used: https://a:1: connection refused; https://b:1: is a learner"
        );
    }

    #[test]
    fn the_most_telling_failure_is_the_exit_when_no_member_answered() {
        let survey = Survey { exit: Some(Exit::Denied), ..Survey::default() };
        assert_eq!(no_member(NoMember::AllRefused(vec![]), &survey, "x").exit, Exit::Denied);
        // A learner did answer, so nothing is wrong with the credentials.
        let learner = vec![refusal("https://b:1", "is a learner")];
        assert_eq!(no_member(NoMember::AllRefused(learner), &survey, "x").exit, Exit::NoMember);
        assert_eq!(no_member(NoMember::SeveralClusters("x".into()), &survey, "x").exit, Exit::Settings);
        assert_eq!(no_member(NoMember::OnlyDegraded("x".into()), &survey, "x").exit, Exit::NoMember);
    }
}
