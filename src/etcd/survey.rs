//! Asks all members at once for their status, their alarms and a linearizable read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use etcd_client::{AlarmAction, AlarmType, Client, ResponseHeader, StatusResponse};

use super::{Error, connect, limited, linearizable_read, revision, scheme};
use crate::config;
use crate::exit::Exit;
use crate::member::{Member, Refusal, Role};
use crate::url::Url;

/// As many URLs of each member list are asked. etcd advises against more than seven members, and a list may be anything.
const MOST_LISTED: usize = 50;

#[derive(Debug, Default)]
pub struct Survey {
    /// One entry for each member that answered.
    pub members: Vec<Member>,
    /// Endpoints that did not answer, and why.
    pub refused: Vec<Refusal>,
    /// The exit that the refusals lead to when no member answered.
    pub exit: Option<Exit>,
}

impl Survey {
    /// Whether voters answered, but none of them reached a quorum. An election looks the same for a moment.
    pub fn lacks_quorum(&self) -> bool {
        let mut voters = self.members.iter().filter(|m| m.role != Role::Learner).peekable();
        voters.peek().is_some() && voters.all(|m| m.read_error.is_some())
    }
}

/// A member that answered, and the client URLs of all members in its list, with their ids.
struct Reached {
    member: Member,
    listed: Vec<(u64, Url)>,
}

/// Asks the configured endpoints, then the listed members that have not answered yet.
pub async fn survey(config: &config::EtcdConfig) -> Survey {
    // The configured endpoints come first, because a member may advertise an address that cannot be reached from here,
    // or that its certificate does not name.
    let configured = &config.endpoints.urls;
    let first = probe_all(configured.clone(), config).await;
    let reached = || first.iter().filter_map(|(_, probed)| probed.as_ref().ok());
    let answered: BTreeSet<u64> = reached().map(|r| r.member.id).collect();
    let unasked: BTreeMap<Url, u64> = reached()
        .flat_map(|r| r.listed.iter())
        .filter(|(id, url)| !answered.contains(id) && !configured.contains(url))
        .map(|(id, url)| (url.clone(), *id))
        .collect();
    let second = probe_all(unasked.keys().cloned().collect(), config).await;
    let mut survey = gather(first.into_iter().chain(second));
    // A member may advertise several URLs, and one that works is enough.
    let answered: BTreeSet<u64> = survey.members.iter().map(|m| m.id).collect();
    survey.refused.retain(|r| unasked.get(&r.endpoint).is_none_or(|id| !answered.contains(id)));
    survey
}

fn gather(probed: impl Iterator<Item = (Url, Result<Reached, Error>)>) -> Survey {
    let mut members: BTreeMap<(u64, u64), Member> = BTreeMap::new();
    let mut survey = Survey::default();
    for (endpoint, outcome) in probed {
        match outcome {
            // Several endpoints may lead to one member. The first one counts, which is the configured one.
            Ok(reached) => {
                let id = (reached.member.cluster_id, reached.member.id);
                members.entry(id).or_insert(reached.member);
            }
            Err(error) => {
                survey.exit = Some(more_specific(survey.exit, error.exit()));
                survey.refused.push(Refusal { endpoint, reason: error.to_string() });
            }
        }
    }
    survey.members = members.into_values().collect();
    survey
}

/// A member that is down tells nothing about the settings, but one that refuses our certificate or user does.
fn more_specific(a: Option<Exit>, b: Exit) -> Exit {
    match (a, b) {
        (None | Some(Exit::NoMember), b) => b,
        (Some(a), _) => a,
    }
}

async fn probe_all(endpoints: Vec<Url>, config: &config::EtcdConfig) -> Vec<(Url, Result<Reached, Error>)> {
    let probes = endpoints.into_iter().map(|endpoint| async {
        let mut probed = probe(&endpoint, config).await;
        if let Err(Error::Refused { .. } | Error::Failed { .. } | Error::Tls(_)) = probed
            && let Some(words) = scheme::wrong_scheme(&endpoint).await
        {
            probed = Err(Error::Tls(words));
        }
        (endpoint, probed)
    });
    futures_util::future::join_all(probes).await
}

async fn probe(endpoint: &Url, config: &config::EtcdConfig) -> Result<Reached, Error> {
    let mut client = connect(endpoint, config).await?;
    let begun = Instant::now();
    let status = limited("status", client.status()).await?;
    let mut member = describe(endpoint, &status);
    member.round_trip = begun.elapsed();
    // A learner answers nothing but status and snapshot.
    if member.role == Role::Learner {
        return Ok(Reached { member, listed: vec![] });
    }
    // Requests need a client each to run at once. The clones share one connection.
    let (mut a, mut b, mut c) = (client.clone(), client.clone(), client);
    let (read, alarms, listed) = tokio::join!(
        linearizable_read(&mut a),
        limited("alarm list", b.alarm(AlarmAction::Get, AlarmType::None, None)),
        voting_members(&mut c),
    );
    // A read that is denied says nothing about the quorum.
    if let (Err(denied @ Error::Denied { .. }), _) | (_, Err(denied @ Error::Denied { .. })) = (&read, &alarms) {
        return Err(denied.clone());
    }
    add_alarms(&mut member, alarms.iter().flat_map(etcd_client::AlarmResponse::alarms));
    // etcd lists alarms by way of a quorum, too. And where they are unknown, one of them may be CORRUPT.
    let read = read.err().filter(|e| !is_only_corrupt(e, &member));
    member.read_error = read.or(alarms.err()).map(|e| e.to_string());
    Ok(Reached { member, listed })
}

/// Whether a read failed only because of a CORRUPT alarm. A member answers so after it has reached a quorum.
fn is_only_corrupt(error: &Error, member: &Member) -> bool {
    !member.corrupt.is_empty() && error.to_string().contains("corrupt")
}

fn describe(endpoint: &Url, status: &StatusResponse) -> Member {
    let header = status.header();
    let id = header.map_or(0, ResponseHeader::member_id);
    let role = match (status.is_learner(), status.leader() == id) {
        (true, _) => Role::Learner,
        (false, true) => Role::Leader,
        (false, false) => Role::Follower,
    };
    Member {
        endpoint: endpoint.clone(),
        id,
        cluster_id: header.map_or(0, ResponseHeader::cluster_id),
        version: status.version().to_owned(),
        role,
        db_size: u64::try_from(status.db_size()).unwrap_or_default(),
        applied_index: status.raft_applied_index(),
        revision: revision(header),
        round_trip: Duration::ZERO,
        read_error: None,
        corrupt: BTreeSet::new(),
        no_space: false,
    }
}

fn add_alarms<'a>(member: &mut Member, alarms: impl Iterator<Item = &'a etcd_client::AlarmMember>) {
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

/// Client URLs of the voting members that have started, with their ids.
async fn voting_members(client: &mut Client) -> Vec<(u64, Url)> {
    let list = match limited("member list", client.member_list()).await {
        Ok(list) => list,
        // Without the list the configured endpoints may still be all that is needed.
        Err(error) => {
            tracing::debug!(%error, "member list");
            return vec![];
        }
    };
    // A member that was added but never started has no name yet, and no URLs.
    let voting = list.members().iter().filter(|m| !m.is_learner() && !m.name().is_empty());
    let urls = voting.flat_map(|m| m.client_urls().iter().filter_map(|url| Some((m.id(), url.parse().ok()?))));
    urls.take(MOST_LISTED).collect()
}
