//! Asks every member at once how it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use etcd_client::{AlarmAction, AlarmType, Client, StatusResponse};

use super::{Error, connect, scheme, timely};
use crate::config;
use crate::exit::Exit;
use crate::member::{Member, Refusal, Role};
use crate::url::Url;

/// The key of etcd's own health check.
const HEALTH_KEY: &str = "health";

/// What the survey saw.
#[derive(Debug, Default)]
pub struct Survey {
    /// One entry for each member that answered.
    pub members: Vec<Member>,
    /// Endpoints that did not, and why.
    pub refused: Vec<Refusal>,
    /// What those failures lead to when no member answered: the most telling of them.
    pub exit: Option<Exit>,
}

impl Survey {
    /// Whether voters answered, and none of them reached the others. An election looks just like it, for a moment.
    pub fn lacks_quorum(&self) -> bool {
        let mut voters = self.members.iter().filter(|m| m.role != Role::Learner).peekable();
        voters.peek().is_some() && voters.all(|m| m.read_error.is_some())
    }
}

/// A member's answer, and the members that it knows, by id.
struct Answer {
    member: Member,
    others: Vec<(u64, Url)>,
}

type Probed = (Url, Result<Answer, Error>);

/// Surveys the seeds, then the members that they know of and that have not answered yet. A member that advertises an
/// address which cannot be reached or verified from here thus stays usable through the URL in the settings.
pub async fn survey(seeds: &[Url], config: &config::EtcdConfig) -> Survey {
    let first = probe_all(seeds.to_vec(), config).await;
    let answers = || first.iter().filter_map(|(_, probed)| probed.as_ref().ok());
    let answered: BTreeSet<u64> = answers().map(|a| a.member.id).collect();
    let silent: BTreeMap<Url, u64> = answers()
        .flat_map(|a| a.others.iter())
        .filter(|(id, endpoint)| !answered.contains(id) && !seeds.contains(endpoint))
        .map(|(id, endpoint)| (endpoint.clone(), *id))
        .collect();
    let second = probe_all(silent.keys().cloned().collect(), config).await;
    let mut survey = gather(first.into_iter().chain(second));
    // One of a member's several URLs is enough.
    let reached: BTreeSet<u64> = survey.members.iter().map(|m| m.id).collect();
    survey.refused.retain(|r| silent.get(&r.endpoint).is_none_or(|id| !reached.contains(id)));
    survey
}

fn gather(probed: impl Iterator<Item = Probed>) -> Survey {
    let mut members: BTreeMap<(u64, u64), Member> = BTreeMap::new();
    let mut survey = Survey::default();
    for (endpoint, outcome) in probed {
        match outcome {
            Ok(answer) => {
                let id = (answer.member.cluster_id, answer.member.id);
                members.entry(id).or_insert(answer.member);
            }
            Err(error) => {
                survey.exit = Some(more_telling(survey.exit, error.exit()));
                survey.refused.push(Refusal { endpoint, reason: error.to_string() });
            }
        }
    }
    survey.members = members.into_values().collect();
    survey
}

/// A member that is down says nothing about the settings; one that refuses our certificate or user does.
fn more_telling(a: Option<Exit>, b: Exit) -> Exit {
    match (a, b) {
        (None | Some(Exit::NoMember), b) => b,
        (Some(a), _) => a,
    }
}

async fn probe_all(endpoints: Vec<Url>, config: &config::EtcdConfig) -> Vec<Probed> {
    let probes = endpoints.into_iter().map(|endpoint| async {
        let mut probed = probe(&endpoint, config).await;
        if let Err(Error::Failed { .. } | Error::Tls(_)) = probed
            && let Some(words) = scheme::mistaken(&endpoint).await
        {
            probed = Err(Error::Tls(words));
        }
        (endpoint, probed)
    });
    futures_util::future::join_all(probes).await
}

async fn probe(endpoint: &Url, config: &config::EtcdConfig) -> Result<Answer, Error> {
    let mut client = connect(endpoint, config).await?;
    let asked = Instant::now();
    let status = timely("status", client.status()).await?;
    let mut member = describe(endpoint, &status);
    member.round_trip = asked.elapsed();
    if member.role == Role::Learner {
        return Ok(Answer { member, others: vec![] });
    }
    let (mut a, mut b, mut c) = (client.clone(), client.clone(), client);
    let (read, alarms, others) = tokio::join!(
        timely("linearizable read", a.get(HEALTH_KEY, None)),
        timely("alarm list", b.alarm(AlarmAction::Get, AlarmType::None, None)),
        other_members(&mut c),
    );
    // Not a sign of a lost quorum.
    if let (Err(denied @ Error::Denied { .. }), _) | (_, Err(denied @ Error::Denied { .. })) = (&read, &alarms) {
        return Err(denied.clone());
    }
    note_alarms(&mut member, alarms.iter().flat_map(etcd_client::AlarmResponse::alarms));
    // etcd lists alarms by way of a quorum too; a member that cannot tell them may have one.
    let read = read.err().filter(|e| !is_only_corrupt(e, &member));
    member.read_error = read.or(alarms.err()).map(|e| e.to_string());
    Ok(Answer { member, others })
}

/// Under a CORRUPT alarm etcd may answer every read with that alarm; it reached a quorum to say so.
fn is_only_corrupt(error: &Error, member: &Member) -> bool {
    !member.corrupt.is_empty() && error.to_string().contains("corrupt")
}

fn describe(endpoint: &Url, status: &StatusResponse) -> Member {
    let header = status.header();
    let id = header.map_or(0, etcd_client::ResponseHeader::member_id);
    let role = match (status.is_learner(), status.leader() == id) {
        (true, _) => Role::Learner,
        (false, true) => Role::Leader,
        (false, false) => Role::Follower,
    };
    Member {
        endpoint: endpoint.clone(),
        id,
        cluster_id: header.map_or(0, etcd_client::ResponseHeader::cluster_id),
        version: status.version().to_owned(),
        role,
        db_size: u64::try_from(status.db_size()).unwrap_or_default(),
        applied_index: status.raft_applied_index(),
        revision: header.map_or(0, |h| u64::try_from(h.revision()).unwrap_or_default()),
        round_trip: std::time::Duration::ZERO,
        read_error: None,
        corrupt: BTreeSet::new(),
        no_space: false,
    }
}

fn note_alarms<'a>(member: &mut Member, alarms: impl Iterator<Item = &'a etcd_client::AlarmMember>) {
    for alarm in alarms {
        match alarm.alarm() {
            AlarmType::Corrupt => {
                member.corrupt.insert(alarm.member_id());
            }
            AlarmType::Nospace => member.no_space = true,
            AlarmType::None => {}
        }
    }
}

/// Client URLs of started, voting members. A list that cannot be had leaves us with the seeds.
async fn other_members(client: &mut Client) -> Vec<(u64, Url)> {
    let list = match timely("member list", client.member_list()).await {
        Ok(list) => list,
        Err(error) => {
            tracing::debug!(%error, "member list");
            return vec![];
        }
    };
    let voting = list.members().iter().filter(|m| !m.is_learner() && !m.name().is_empty());
    voting.flat_map(|m| m.client_urls().iter().filter_map(|url| Some((m.id(), url.parse().ok()?)))).collect()
}
