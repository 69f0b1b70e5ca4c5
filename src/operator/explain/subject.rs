//! What is asked about: `KIND/NAME`, in the short and long names that kubectl knows.

use std::fmt;
use std::str::FromStr;

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A load.
    Load(String),
    /// A lease.
    Lease {
        /// Its namespace; empty: the caller's.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A site, or one of its feeders.
    Place {
        /// The budget.
        budget: String,
        /// The feeder; none: the site.
        feeder: Option<String>,
    },
    /// A fleet.
    Fleet(String),
    /// A pool.
    Pool(String),
    /// A grid event.
    Event(String),
    /// A lockout.
    Lockout(String),
}

/// What was asked about is nothing that can be explained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?}: ask about load/NAME, cl/NAME (or cl/NAMESPACE/NAME), pb/NAME, pb/NAME/FEEDER, mf/NAME, gp/NAME, ge/NAME or \
     lo/NAME"
)]
pub struct SubjectError(pub String);

impl Subject {
    /// The same, where a lease without a namespace is of this one.
    #[must_use]
    pub fn in_namespace(self, default: &str) -> Self {
        match self {
            Self::Lease { namespace, name } if namespace.is_empty() => Self::Lease { namespace: default.into(), name },
            other => other,
        }
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let wrong = || SubjectError(text.into());
        let mut parts = text.split('/');
        let (kind, name, more) = (parts.next().unwrap_or_default(), parts.next().ok_or_else(wrong)?, parts.next());
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        let odd = [Some(name), more].into_iter().flatten().any(|name| name.is_empty() || !name.chars().all(named));
        if odd || parts.next().is_some() {
            return Err(wrong());
        }
        let kind = kind.to_ascii_lowercase();
        let own = name.to_owned();
        Ok(match (kind.split('.').next().unwrap_or_default(), more) {
            ("load" | "loads" | "controllableload" | "controllableloads", None) => Self::Load(own),
            ("cl" | "computelease" | "computeleases", None) => Self::Lease { namespace: String::new(), name: own },
            ("cl" | "computelease" | "computeleases", Some(more)) => Self::Lease { namespace: own, name: more.into() },
            ("pb" | "powerbudget" | "powerbudgets", more) => {
                Self::Place { budget: own, feeder: more.map(ToOwned::to_owned) }
            }
            ("mf" | "miningfleet" | "miningfleets", None) => Self::Fleet(own),
            ("gp" | "gpupool" | "gpupools", None) => Self::Pool(own),
            ("ge" | "gridevent" | "gridevents", None) => Self::Event(own),
            ("lo" | "lockout" | "lockouts", None) => Self::Lockout(own),
            _ => return Err(wrong()),
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(name) => write!(f, "load/{name}"),
            Self::Lease { namespace, name } => write!(f, "cl/{namespace}/{name}"),
            Self::Place { budget, feeder: None } => write!(f, "pb/{budget}"),
            Self::Place { budget, feeder: Some(feeder) } => write!(f, "pb/{budget}/{feeder}"),
            Self::Fleet(name) => write!(f, "mf/{name}"),
            Self::Pool(name) => write!(f, "gp/{name}"),
            Self::Event(name) => write!(f, "ge/{name}"),
            Self::Lockout(name) => write!(f, "lo/{name}"),
        }
    }
}
