//! The keys and certificates of both ends, where nobody else makes them: when to make new ones, and how.
//!
//! A generation is an authority, a certificate of the operator's and one of the agents', made together; the authority's
//! private key is thrown away as soon as it has signed the two, so that no one can ever sign a third. A new generation
//! is first *staged*: its authority is trusted by both ends while the old certificates are still shown. After
//! [`STAGED_FOR`], longer than kubelets take to bring changed Secrets to their pods, it is *promoted*: shown. An old
//! authority stays trusted until it expires, so that an end which is late is still let in.

use super::tls::Pems;
use ampacity_core::units::{Span, Time};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// How long a generation is valid.
pub const LIFE: Span = Span::minutes(60 * 24 * 90);
/// A new one is staged when the present one is this old.
pub const STAGED_AFTER: Span = Span::minutes(60 * 24 * 60);
/// A staged one is promoted after this.
pub const STAGED_FOR: Span = Span::minutes(60);
/// It is valid from before it was made: clocks differ.
const BACKDATED: Span = Span::minutes(60);
/// Old authorities that stay trusted.
const OLD_MOST: usize = 2;

/// A certificate and its private key, PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

/// An authority that is trusted, PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Its certificate.
    pub certificate: String,
    /// Until when, milliseconds since 1970.
    pub expires: i64,
}

/// What was made together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// When, milliseconds since 1970.
    pub made: i64,
    /// Who signed the two.
    pub authority: Authority,
    /// The operator's.
    pub server: Pair,
    /// The agents'.
    pub agent: Pair,
}

/// All keys there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// What is shown.
    pub current: Generation,
    /// What will be, already trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Generation>,
    /// What is still trusted, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub old: Vec<Authority>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// A new generation, to be shown at once: there is none that is still valid.
    Make,
    /// A new generation, to be trusted and not shown yet.
    Stage,
    /// To show what was staged.
    Promote,
}

impl Keys {
    /// What is due of these keys at `now`.
    pub fn due(keys: Option<&Self>, now: Time) -> Due {
        let valid = |of: &Generation| now < Time::new(of.authority.expires);
        let Some(keys) = keys else { return Due::Make };
        let age = |of: &Generation| now.since(Time::new(of.made));
        match keys.next.as_ref().filter(|next| valid(next)) {
            Some(next) if age(next) >= STAGED_FOR || !valid(&keys.current) => Due::Promote,
            Some(_) => Due::Nothing,
            None if !valid(&keys.current) => Due::Make,
            None if age(&keys.current) >= STAGED_AFTER => Due::Stage,
            None => Due::Nothing,
        }
    }

    /// The keys as they are to stand at `now`, if they are to change. `make` makes a generation.
    ///
    /// # Errors
    /// `make`'s.
    pub fn advance<E>(
        keys: Option<Self>,
        now: Time,
        make: impl FnOnce(Time) -> Result<Generation, E>,
    ) -> Result<Option<Self>, E> {
        let due = Self::due(keys.as_ref(), now);
        Ok(match (due, keys) {
            (Due::Nothing, _) => None,
            (Due::Stage, Some(keys)) => Some(Self { next: Some(make(now)?), ..keys }),
            (Due::Promote, Some(Self { current, next: Some(next), old })) => {
                Some(Self::show(next, Some(current), old, now))
            }
            (_, keys) => {
                let (current, old) = keys.map_or((None, Vec::new()), |keys| (Some(keys.current), keys.old));
                Some(Self::show(make(now)?, current, old, now))
            }
        })
    }

    fn show(current: Generation, last: Option<Generation>, old: Vec<Authority>, now: Time) -> Self {
        let old = last.map(|last| last.authority).into_iter().chain(old);
        let old = old.filter(|authority| now < Time::new(authority.expires)).take(OLD_MOST).collect();
        Self { current, next: None, old }
    }

    /// Everybody who is trusted, PEM.
    pub fn authorities(&self) -> String {
        let made = std::iter::once(&self.current).chain(&self.next).map(|of| &of.authority);
        made.chain(&self.old).map(|authority| authority.certificate.as_str()).collect()
    }

    fn shown(&self, pair: &Pair) -> Pems {
        Pems {
            certificate: pair.certificate.clone().into_bytes(),
            key: pair.key.clone().into_bytes(),
            authorities: self.authorities().into_bytes(),
        }
    }

    /// What the operator shows, and whom it trusts.
    pub fn server(&self) -> Pems {
        self.shown(&self.current.server)
    }

    /// What agents show, and whom they trust.
    pub fn agent(&self) -> Pems {
        self.shown(&self.current.agent)
    }
}

/// A new generation, in which the operator's certificate bears `server_name`.
///
/// # Errors
/// The name is none, or the system gave no randomness.
pub fn generate(server_name: &str, now: Time) -> Result<Generation, rcgen::Error> {
    let expires = now.after(LIFE);
    let date =
        |time: Time| OffsetDateTime::from_unix_timestamp(time.get().div_euclid(1_000)).map_err(|_| rcgen::Error::Time);
    let params = |name: &str, sans: Vec<String>| -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::new(sans)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (date(now.before(BACKDATED))?, date(expires)?);
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    };
    // Of several authorities of one name a verifier would have to try each.
    let mut ca = params(&format!("ampacity link {}", now.get()), Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_key = KeyPair::generate()?;
    let authority = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);
    let sign = |name: &str, sans, usage| -> Result<Pair, rcgen::Error> {
        let mut params = params(name, sans)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        Ok(Pair { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
    };
    Ok(Generation {
        made: now.get(),
        authority: Authority { certificate: authority, expires: expires.get() },
        server: sign("ampacity operator", vec![server_name.into()], ExtendedKeyUsagePurpose::ServerAuth)?,
        agent: sign("ampacity agent", Vec::new(), ExtendedKeyUsagePurpose::ClientAuth)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    const HOUR: i64 = 3_600;
    const DAY: i64 = 24 * HOUR;

    fn made(now: Time) -> Result<Generation, Infallible> {
        let pair = || Pair { certificate: format!("cert {}", now.get() / 1_000), key: String::new() };
        let expires = now.after(LIFE).get();
        let authority = Authority { certificate: format!("ca {}\n", now.get() / 1_000 / DAY), expires };
        Ok(Generation { made: now.get(), authority, server: pair(), agent: pair() })
    }

    fn advance(keys: Option<Keys>, seconds: i64) -> Option<Keys> {
        let Ok(keys) = Keys::advance(keys, Time::seconds(seconds), made);
        keys
    }

    #[test]
    fn an_operator_that_runs_for_a_year_shows_nothing_that_was_not_trusted_for_an_hour_and_trusts_all_that_is_shown() {
        let mut keys = advance(None, 0).unwrap();
        let mut trusted_since = vec![(keys.authorities(), 0)];
        let mut steps = Vec::new();
        for hour in 1..365 * 24 {
            let now = hour * HOUR;
            let Some(new) = advance(Some(keys.clone()), now) else { continue };
            steps.push((now / DAY, Keys::due(Some(&keys), Time::seconds(now)), new.authorities()));
            if new.current != keys.current {
                let authority = &new.current.authority.certificate;
                let since = trusted_since.iter().find(|(all, _)| all.contains(authority)).map(|(_, since)| *since);
                assert!(since.is_some_and(|since| now - since >= HOUR), "shown at {now}, trusted since {since:?}");
                assert!(new.authorities().contains(&keys.current.authority.certificate), "who is late is let in");
            }
            trusted_since.push((new.authorities(), now));
            keys = new;
        }
        let first: Vec<_> = steps.iter().take(4).map(|(day, due, all)| (*day, *due, all.as_str())).collect();
        assert_eq!(
            first,
            [
                (60, Due::Stage, "ca 0\nca 60\n"),
                (60, Due::Promote, "ca 60\nca 0\n"),
                (120, Due::Stage, "ca 60\nca 120\nca 0\n"),
                (120, Due::Promote, "ca 120\nca 60\n"),
            ],
            "what has expired is dropped with the next change"
        );
        assert_eq!(steps.len(), 12);
    }

    #[test]
    fn keys_that_ran_out_while_no_operator_ran_are_made_anew_and_staged_ones_shown_at_once() {
        let first = advance(None, 0).unwrap();
        assert_eq!(Keys::due(Some(&first), Time::seconds(90 * DAY - 1)), Due::Stage);
        assert_eq!(Keys::due(Some(&first), Time::seconds(90 * DAY)), Due::Make);
        let new = advance(Some(first.clone()), 100 * DAY).unwrap();
        assert_eq!((new.current.made, new.old.len()), (100 * DAY * 1_000, 0));
        let staged = advance(Some(first), 89 * DAY + 23 * HOUR + HOUR / 2).unwrap();
        assert_eq!(Keys::due(Some(&staged), Time::seconds(90 * DAY)), Due::Promote, "half an hour is all there is");
        assert_eq!(Keys::due(Some(&staged), Time::seconds(200 * DAY)), Due::Make);
    }

    #[test]
    fn a_clock_that_is_set_back_changes_nothing() {
        let keys = advance(None, 100 * DAY).unwrap();
        assert_eq!(Keys::due(Some(&keys), Time::seconds(0)), Due::Nothing);
    }

    #[test]
    fn keys_are_the_same_after_they_were_kept_as_text_and_no_log_shows_them() {
        let keys = Keys { current: generate("a.b.svc", Time::seconds(DAY)).unwrap(), next: None, old: Vec::new() };
        let text = serde_json::to_string(&keys).unwrap();
        assert_eq!(serde_json::from_str::<Keys>(&text).unwrap(), keys);
        assert!(text.contains("PRIVATE KEY") && !format!("{keys:?} {:?}", keys.server()).contains("PRIVATE KEY"));
    }
}
