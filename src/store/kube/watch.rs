//! Watches: one task a kind, from the API server's events to what the port shows.

use super::facts::{Shown, key};
use crate::api::{LEASE_LABEL, LOAD_LABEL};
use crate::store::{Filter, Key, Kind, LEADERSHIP_NAME, Object, Seen};
use futures::stream::{BoxStream, SelectAll, StreamExt};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Client, Resource};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// A watch is asked anew this often, and a connection that died in silence is noticed 5 s after: kube's own 290 s
/// would leave an operator blind for five minutes.
const WATCH_SECONDS: u32 = 30;
/// A watch that fails is tried again after this long, doubling.
const PAUSE_LEAST: Duration = Duration::from_millis(250);
/// The longest pause: what a restarted API server waits for its operators at most.
const PAUSE_MOST: Duration = Duration::from_secs(5);

/// An object, or why it cannot be read.
type Read = Result<Object, (Key, String)>;
/// One list-and-watch.
type Source = BoxStream<'static, Result<Event<Read>, watcher::Error>>;

/// Where a watch's task puts what it sees: it waits while the reader is behind, and the API server with it.
#[derive(Clone)]
pub(super) struct Out {
    pub(super) seen: mpsc::Sender<Seen>,
    pub(super) wake: Arc<Notify>,
}

impl Out {
    /// False: nobody listens any more.
    async fn put(&self, seen: Seen) -> bool {
        let put = self.seen.send(seen).await.is_ok();
        self.wake.notify_one();
        put
    }
}

/// Follows one kind until nobody listens any more.
pub(super) async fn follow(client: Client, namespace: Arc<str>, filter: Filter, kind: Kind, out: Out) {
    let sources = sources(&client, &namespace, &filter, kind);
    let mut states: Vec<Listing> = sources.iter().map(|_| Listing::default()).collect();
    let numbered = sources.into_iter().enumerate().map(|(at, source)| source.map(move |event| (at, event)).boxed());
    let mut events: SelectAll<_> = numbered.collect();
    let mut pause = PAUSE_LEAST;
    while let Some((at, event)) = events.next().await {
        match event {
            Ok(event) => {
                pause = PAUSE_LEAST;
                for seen in step(&mut states, at, kind, event) {
                    if !out.put(seen).await {
                        return;
                    }
                }
            }
            Err(error) => {
                tracing::warn!(?kind, %error, "watch failed");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MOST);
            }
        }
    }
}

fn sources(client: &Client, namespace: &Arc<str>, filter: &Filter, kind: Kind) -> Vec<Source> {
    let every = Config::default().timeout(WATCH_SECONDS);
    macro_rules! wide {
        ($kind:ident) => {
            vec![source::<$kind>(Api::all(client.clone()), every, namespace)]
        };
    }
    use crate::api::{
        ComputeLease, ControllableLoad, GpuPool, GridEvent, LeaseClass, Lockout, MiningFleet, PowerBudget,
    };
    match kind {
        Kind::PowerBudget => wide!(PowerBudget),
        Kind::MiningFleet => wide!(MiningFleet),
        Kind::GpuPool => wide!(GpuPool),
        Kind::LeaseClass => wide!(LeaseClass),
        Kind::ComputeLease => wide!(ComputeLease),
        Kind::GridEvent => wide!(GridEvent),
        Kind::Lockout => wide!(Lockout),
        Kind::Node => wide!(Node),
        Kind::ControllableLoad => match filter {
            Filter::All => {
                vec![source::<ControllableLoad>(Api::namespaced(client.clone(), namespace), every, namespace)]
            }
            Filter::Load(load) => {
                let of = load.namespace.as_deref().unwrap_or(namespace);
                let one = every.fields(&format!("metadata.name={}", load.name));
                vec![source::<ControllableLoad>(Api::namespaced(client.clone(), of), one, namespace)]
            }
        },
        Kind::Job => vec![source::<Job>(Api::all(client.clone()), every.labels(LEASE_LABEL), namespace)],
        // A selector cannot say "one label or the other": two watches make up this kind.
        Kind::Pod => vec![
            source::<Pod>(Api::all(client.clone()), every.clone().labels(LEASE_LABEL), namespace),
            source::<Pod>(Api::namespaced(client.clone(), namespace), every.labels(LOAD_LABEL), namespace),
        ],
        Kind::Leadership => {
            let one = every.fields(&format!("metadata.name={LEADERSHIP_NAME}"));
            vec![source::<Lease>(Api::namespaced(client.clone(), namespace), one, namespace)]
        }
    }
}

fn source<K: Shown>(api: Api<DeserializeGuard<K>>, config: Config, namespace: &Arc<str>) -> Source {
    let namespace = namespace.clone();
    let read = move |guard: DeserializeGuard<K>| read(guard, &namespace);
    let shaped = move |event| match event {
        Event::Apply(guard) => Event::Apply(read(guard)),
        Event::Delete(guard) => Event::Delete(read(guard)),
        Event::InitApply(guard) => Event::InitApply(read(guard)),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    };
    watcher(api, config).map(move |event| event.map(&shaped)).boxed()
}

/// An object that its types refuse, or that makes no sense, is shown as such with the parser's words.
fn read<K: Shown>(guard: DeserializeGuard<K>, namespace: &str) -> Read {
    let key = key(K::KIND, guard.meta());
    match guard.0 {
        Ok(object) => object.object(namespace).map_err(|why| (key, why)),
        Err(invalid) => Err((key, invalid.error)),
    }
}

/// How far one source has shown what there is.
#[derive(Debug, Default)]
struct Listing {
    begun: bool,
    listed: bool,
    /// Shown and not gone. Kept only where several sources make up a kind.
    known: BTreeSet<Key>,
    /// Shown before the list under way began, and not by it yet.
    missing: BTreeSet<Key>,
}

/// What an event of source `at` shows. Where several sources make up a kind, `Broken` would question the objects of
/// all and `Listed` of one would take away the others': each source then tells by itself what is gone.
fn step(states: &mut [Listing], at: usize, kind: Kind, event: Event<Read>) -> Vec<Seen> {
    let alone = states.len() == 1;
    let others_listed = states.iter().enumerate().all(|(other, state)| other == at || state.listed);
    let Some(state) = states.get_mut(at) else { return Vec::new() };
    match event {
        Event::Init => {
            state.missing = state.known.clone();
            // A list that broke off midway has shown objects too: they are in question like those of a whole one.
            if std::mem::replace(&mut state.begun, true) && alone { vec![Seen::Broken(kind)] } else { Vec::new() }
        }
        Event::Apply(read) | Event::InitApply(read) => {
            if !alone {
                let key = key_of(&read);
                state.missing.remove(&key);
                state.known.insert(key);
            }
            vec![read.map_or_else(|(key, why)| Seen::Unreadable(key, why), Seen::Object)]
        }
        Event::Delete(read) => {
            let key = key_of(&read);
            state.missing.remove(&key);
            state.known.remove(&key);
            vec![Seen::Gone(key)]
        }
        Event::InitDone => {
            let gone = std::mem::take(&mut state.missing);
            state.known.retain(|key| !gone.contains(key));
            let first = !std::mem::replace(&mut state.listed, true);
            let listed = (alone || (first && others_listed)).then_some(Seen::Listed(kind));
            gone.into_iter().map(Seen::Gone).chain(listed).collect()
        }
    }
}

fn key_of(read: &Read) -> Key {
    match read {
        Ok(object) => object.key(),
        Err((key, _)) => key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::PodFacts;
    use serde_json::json;

    fn pod(name: &str) -> Read {
        Ok(Object::Pod(Arc::new(PodFacts { namespace: "n".into(), name: name.into(), ..PodFacts::default() })))
    }

    fn shown(name: &str) -> Seen {
        Seen::Object(pod(name).unwrap())
    }

    #[test]
    fn a_kind_of_two_sources_is_listed_when_both_are_and_a_gap_in_one_takes_nothing_from_the_other() {
        let mut states = [Listing::default(), Listing::default()];
        let mut run = |at, events: Vec<Event<Read>>| -> Vec<Seen> {
            events.into_iter().flat_map(|event| step(&mut states, at, Kind::Pod, event)).collect()
        };
        assert_eq!(run(0, vec![Event::Init, Event::InitApply(pod("a")), Event::InitDone]), [shown("a")]);
        let other = vec![Event::Init, Event::InitApply(pod("x")), Event::InitDone];
        assert_eq!(run(1, other), [shown("x"), Seen::Listed(Kind::Pod)]);
        assert_eq!(run(0, vec![Event::Apply(pod("b"))]), [shown("b")]);
        let gone = Seen::Gone(Key::namespaced(Kind::Pod, "n", "a"));
        assert_eq!(run(0, vec![Event::Init, Event::InitApply(pod("b")), Event::InitDone]), [shown("b"), gone]);
    }

    #[test]
    fn a_list_that_broke_off_midway_puts_what_it_showed_in_question() {
        let mut states = [Listing::default()];
        let events =
            [Event::Init, Event::InitApply(pod("a")), Event::Init, Event::InitApply(pod("b")), Event::InitDone];
        let seen: Vec<Seen> = events.into_iter().flat_map(|event| step(&mut states, 0, Kind::Pod, event)).collect();
        assert_eq!(seen, [shown("a"), Seen::Broken(Kind::Pod), shown("b"), Seen::Listed(Kind::Pod)]);
    }

    #[test]
    fn an_object_that_its_types_refuse_is_shown_with_the_parsers_words() {
        let bad = json!({"metadata": {"name": "a"}, "spec": {"limitWatts": "70m"}});
        let guard = serde_json::from_value::<DeserializeGuard<crate::api::PowerBudget>>(bad).unwrap();
        let (key, why) = read(guard, "ampacity").unwrap_err();
        assert_eq!(key, Key::cluster(Kind::PowerBudget, "a"));
        assert!(why.contains("70m"), "{why}");
    }
}
