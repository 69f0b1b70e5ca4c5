//! What this operator has been shown of the cluster: every object as it last stood, and how much of it is known.

use crate::store::{Answer, Key, Kind, Object, Seen, Write};
use std::collections::{BTreeMap, BTreeSet};

/// An object that is different from how it was shown before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub key: Key,
    /// Its status, and what the server counts, are all that is different.
    pub status_only: bool,
}

impl Change {
    const fn of(key: Key) -> Self {
        Self { key, status_only: false }
    }
}

/// Every object as it was last shown.
#[derive(Debug, Default)]
pub struct Cache {
    objects: BTreeMap<Key, Object>,
    unreadable: BTreeMap<Key, String>,
    /// Shown before a watch broke and not since: gone, if the next list ends without them.
    unconfirmed: BTreeSet<Key>,
    listed: BTreeSet<Kind>,
}

impl Cache {
    /// Takes in one thing that was seen; gives what is now different.
    pub fn take(&mut self, seen: &Seen) -> Vec<Change> {
        match seen {
            Seen::Object(object) | Seen::Answer(_, Answer::Accepted(Some(object))) => self.put(object),
            Seen::Gone(key) => self.drop(key),
            Seen::Unreadable(key, why) => {
                self.unconfirmed.remove(key);
                let was = self.unreadable.insert(key.clone(), why.clone());
                if was.as_ref() == Some(why) { Vec::new() } else { vec![Change::of(key.clone())] }
            }
            Seen::Broken(kind) => {
                let of_kind = self.objects.keys().chain(self.unreadable.keys()).filter(|key| key.kind == *kind);
                self.unconfirmed.extend(of_kind.cloned());
                Vec::new()
            }
            Seen::Listed(kind) => {
                self.listed.insert(*kind);
                let lost: Vec<Key> = self.unconfirmed.iter().filter(|key| key.kind == *kind).cloned().collect();
                lost.iter().flat_map(|key| self.drop(key)).collect()
            }
            Seen::Answer(..) => Vec::new(),
        }
    }

    fn put(&mut self, object: &Object) -> Vec<Change> {
        let key = object.key();
        let confirmed = !self.unconfirmed.remove(&key);
        let stands = self.objects.get(&key).filter(|stands| confirmed && stands.uid() == object.uid());
        if stands.is_some_and(|stands| stands.is_newer_than(object)) {
            // A watch shows late what a write of ours has changed since.
            return Vec::new();
        }
        let readable = self.unreadable.remove(&key).is_some();
        let was = self.objects.insert(key.clone(), object.clone());
        match was {
            Some(was) if !readable && was == *object => Vec::new(),
            was => vec![Change { status_only: !readable && was.is_some_and(|was| was.differs_in_status(object)), key }],
        }
    }

    fn drop(&mut self, key: &Key) -> Vec<Change> {
        self.unconfirmed.remove(key);
        let unreadable = self.unreadable.remove(key).is_some();
        let known = self.objects.remove(key).is_some();
        if unreadable || known { vec![Change::of(key.clone())] } else { Vec::new() }
    }

    /// Whether every kind has been listed at least once: before that, nothing that is missing is known to be missing.
    pub fn is_complete(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.listed.contains(kind))
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Object> {
        self.objects.get(key)
    }

    /// Why an object that exists cannot be read, if so.
    pub fn unreadable(&self, key: &Key) -> Option<&str> {
        self.unreadable.get(key).map(String::as_str)
    }

    /// Every object that cannot be read.
    pub fn all_unreadable(&self) -> impl Iterator<Item = (&Key, &str)> {
        self.unreadable.iter().map(|(key, why)| (key, why.as_str()))
    }

    /// Events for the authors of objects that cannot be read, once for each reason; `told` keeps what was told.
    pub(super) fn untold(&self, told: &mut BTreeMap<Key, String>) -> Vec<super::Purposed> {
        /// So many in one turn: a new schema makes thousands unreadable at once.
        const NEWS_MAX: usize = 6;
        told.retain(|key, _| self.unreadable.contains_key(key));
        let new = self.unreadable.iter().filter(|(key, why)| told.get(*key) != Some(*why));
        let new: Vec<(Key, String)> = new.take(NEWS_MAX).map(|(key, why)| (key.clone(), why.clone())).collect();
        let event = |(key, why): (Key, String)| {
            let known = self.objects.contains_key(&key);
            let kept = match (key.kind, known) {
                (Kind::Lockout | Kind::GridEvent, true) => "its last form stays in force and nothing is raised there",
                (Kind::Lockout | Kind::GridEvent, false) => "nothing is raised at any site until it can",
                (_, true) => "its last form stays in force",
                (_, false) => "it is left out",
            };
            let why: String = why.chars().take(160).collect();
            let note = format!("cannot be read, {kept}: {why}");
            let write = Write::Event { regarding: key, warning: true, reason: "Unreadable", action: "Read", note };
            (write, super::Purpose::Other)
        };
        told.extend(new.iter().cloned());
        new.into_iter().map(event).collect()
    }

    /// Every object of one kind, by namespace and name.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        let from = Key { kind, namespace: None, name: "".into() };
        self.objects.range(from..).take_while(move |(key, _)| key.kind == kind).map(|(_, object)| object)
    }
}

/// Defines typed access to one kind.
macro_rules! typed {
    ($($(#[$doc:meta])* $all:ident, $one:ident: $kind:ident => $type:ty),* $(,)?) => {
        impl Cache {$(
            $(#[$doc])*
            pub fn $all(&self) -> impl Iterator<Item = &std::sync::Arc<$type>> {
                self.of(Kind::$kind).filter_map(|object| match object {
                    Object::$kind(own) => Some(own),
                    _ => None,
                })
            }

            /// One of them.
            pub fn $one(&self, key: &Key) -> Option<&std::sync::Arc<$type>> {
                match self.objects.get(key) {
                    Some(Object::$kind(own)) => Some(own),
                    _ => None,
                }
            }
        )*}
    };
}
typed! {
    /// Every `PowerBudget`.
    budgets, budget: PowerBudget => crate::api::PowerBudget,
    /// Every `MiningFleet`.
    fleets, fleet: MiningFleet => crate::api::MiningFleet,
    /// Every `GpuPool`.
    pools, pool: GpuPool => crate::api::GpuPool,
    /// Every `LeaseClass`.
    classes, class: LeaseClass => crate::api::LeaseClass,
    /// Every `ComputeLease`.
    leases, lease: ComputeLease => crate::api::ComputeLease,
    /// Every `GridEvent`.
    events, event: GridEvent => crate::api::GridEvent,
    /// Every `Lockout`.
    lockouts, lockout: Lockout => crate::api::Lockout,
    /// Every `ControllableLoad`.
    loads, load: ControllableLoad => crate::api::ControllableLoad,
    /// Every lease Job.
    jobs, job: Job => crate::store::JobFacts,
    /// Every pod of a lease Job or agent.
    pods, pod: Pod => crate::store::PodFacts,
    /// Every node.
    nodes, node: Node => crate::store::NodeFacts,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PowerBudget;
    use crate::store::NodeFacts;
    use std::sync::Arc;

    fn node(name: &str, gpus: u32) -> Object {
        Object::Node(Arc::new(NodeFacts { name: name.into(), gpus, ..NodeFacts::default() }))
    }

    fn key(name: &str) -> Key {
        Key::cluster(Kind::Node, name)
    }

    fn change(name: &str) -> Change {
        Change::of(key(name))
    }

    fn budget(edit: impl FnOnce(&mut PowerBudget)) -> Object {
        let yaml = "{limitWatts: 10M, policy: {mode: Active}}";
        let mut budget = PowerBudget::new("west", serde_yaml::from_str(yaml).unwrap());
        edit(&mut budget);
        Object::PowerBudget(Arc::new(budget))
    }

    #[test]
    fn a_new_status_is_told_apart_from_a_new_spec_or_label() {
        let status = |b: &mut PowerBudget| {
            b.status = Some(Default::default());
            b.metadata.resource_version = Some("2".into());
        };
        let spec = |b: &mut PowerBudget| {
            status(b);
            b.spec.reserve_watts = serde_yaml::from_str("1M").unwrap();
        };
        let label = |b: &mut PowerBudget| {
            spec(b);
            b.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
        };
        let mut cache = Cache::default();
        let shown = [budget(|_| {}), budget(status), budget(status), budget(spec), budget(label)];
        let told = shown.map(|object| cache.take(&Seen::Object(object)).first().map(|change| change.status_only));
        assert_eq!(told, [Some(false), Some(true), None, Some(false), Some(false)]);
    }

    #[test]
    fn what_a_watch_shows_late_takes_nothing_back_but_a_list_after_a_gap_does() {
        let form = |revision: &str, uid: &str| {
            budget(|b| (b.metadata.resource_version, b.metadata.uid) = (Some(revision.into()), Some(uid.into())))
        };
        let mut cache = Cache::default();
        let stands = |cache: &Cache| cache.budgets().map(|b| b.metadata.resource_version.clone()).next().flatten();
        cache.take(&Seen::Answer(crate::store::WriteId(1), Answer::Accepted(Some(form("10", "a")))));
        assert_eq!(cache.take(&Seen::Object(form("9", "a"))), []);
        assert_eq!(stands(&cache).as_deref(), Some("10"));
        cache.take(&Seen::Object(form("8", "b")));
        assert_eq!(stands(&cache).as_deref(), Some("8"), "another object of that name");
        // A restored backup.
        cache.take(&Seen::Broken(Kind::PowerBudget));
        cache.take(&Seen::Object(form("7", "b")));
        assert_eq!(stands(&cache).as_deref(), Some("7"));
    }

    #[test]
    fn what_a_list_after_a_gap_does_not_show_is_gone() {
        let mut cache = Cache::default();
        for name in ["a", "b"] {
            cache.take(&Seen::Object(node(name, 8)));
        }
        assert_eq!(cache.take(&Seen::Listed(Kind::Node)), []);
        assert_eq!(cache.take(&Seen::Broken(Kind::Node)), []);
        assert_eq!(cache.take(&Seen::Object(node("b", 8))), []);
        assert_eq!(cache.take(&Seen::Listed(Kind::Node)), [change("a")]);
        assert_eq!(cache.nodes().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn an_object_that_cannot_be_read_keeps_its_last_form_and_says_why() {
        let mut cache = Cache::default();
        cache.take(&Seen::Object(node("a", 8)));
        assert_eq!(cache.take(&Seen::Unreadable(key("a"), "gpus is no number".into())), [change("a")]);
        assert_eq!(cache.unreadable(&key("a")), Some("gpus is no number"));
        assert!(cache.get(&key("a")).is_some());
        assert_eq!(cache.take(&Seen::Object(node("a", 8))), [change("a")]);
        assert_eq!(cache.unreadable(&key("a")), None);
    }

    #[test]
    fn the_author_of_what_cannot_be_read_is_told_once_for_each_reason() {
        let mut cache = Cache::default();
        let mut told = BTreeMap::new();
        let mut notes = |cache: &Cache| -> Vec<String> {
            let note = |(write, _)| match write {
                Write::Event { regarding, note, warning: true, .. } => format!("{} {note}", regarding.name),
                other => panic!("{other:?}"),
            };
            cache.untold(&mut told).into_iter().map(note).collect()
        };
        cache.take(&Seen::Object(node("a", 8)));
        cache.take(&Seen::Unreadable(key("a"), "gpus is no number".into()));
        cache.take(&Seen::Unreadable(key("b"), "no spec".into()));
        let first = [
            "a cannot be read, its last form stays in force: gpus is no number",
            "b cannot be read, it is left out: no spec",
        ];
        assert_eq!(notes(&cache), first);
        assert_eq!(notes(&cache), [""; 0]);
        cache.take(&Seen::Object(node("a", 8)));
        assert_eq!(notes(&cache), [""; 0]);
        cache.take(&Seen::Unreadable(key("a"), "gpus is no number".into()));
        assert_eq!(notes(&cache), [first[0]]);
    }

    #[test]
    fn nothing_is_missing_before_every_kind_was_listed() {
        let mut cache = Cache::default();
        for kind in Kind::ALL {
            assert!(!cache.is_complete());
            cache.take(&Seen::Listed(kind));
        }
        assert!(cache.is_complete());
    }
}
