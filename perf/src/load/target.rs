//! Where requests of a class go, and what they must find there.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

/// A class of the workload: `ID[=SHARE][,LABEL]...`
#[derive(Clone, Debug, PartialEq)]
pub struct ClassSpec {
    /// The capability class.
    pub id: u32,
    /// Its share of the conversations, relative to the other classes'.
    pub share: f64,
    /// Labels that its requests need.
    pub labels: Vec<String>,
}

/// What a class should look like.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ID[=SHARE][,LABEL]... wanted, for example 1=0.7,model:llama-3-70b")]
pub struct ClassSpecError;

impl FromStr for ClassSpec {
    type Err = ClassSpecError;

    fn from_str(text: &str) -> Result<Self, ClassSpecError> {
        let mut parts = text.split(',');
        let head = parts.next().unwrap_or_default();
        let (id, share) = head.split_once('=').unwrap_or((head, "1"));
        let share: f64 = share.parse().map_err(|_| ClassSpecError)?;
        let labels: Vec<String> = parts.map(str::to_owned).collect();
        if !(share.is_finite() && share > 0.0) || labels.iter().any(String::is_empty) {
            return Err(ClassSpecError);
        }
        Ok(Self {
            id: id.parse().map_err(|_| ClassSpecError)?,
            share,
            labels,
        })
    }
}

/// A service prefix of 96 bits; the last 32 of an address under it are the class.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct ServicePrefix(Ipv6Addr);

/// What a service prefix should look like.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an IPv6 prefix of 96 bits wanted, for example 2001:db8:aa::/96")]
pub struct ServicePrefixError;

impl FromStr for ServicePrefix {
    type Err = ServicePrefixError;

    fn from_str(text: &str) -> Result<Self, ServicePrefixError> {
        let address = text.strip_suffix("/96").ok_or(ServicePrefixError)?;
        let address: Ipv6Addr = address.parse().map_err(|_| ServicePrefixError)?;
        if address.to_bits() as u32 != 0 {
            return Err(ServicePrefixError);
        }
        Ok(Self(address))
    }
}

impl ServicePrefix {
    /// The address of a class.
    #[must_use]
    pub const fn address(self, class: u32) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.0.to_bits() | class as u128)
    }
}

/// Where requests go.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To the address of their class.
    Service {
        /// The prefix.
        prefix: ServicePrefix,
        /// The port of every service.
        port: u16,
    },
    /// All to one, whatever their class.
    Direct(SocketAddrV6),
}

impl Destination {
    /// Where requests of `class` go.
    #[must_use]
    pub const fn of(&self, class: u32) -> SocketAddrV6 {
        match self {
            Self::Service { prefix, port } => SocketAddrV6::new(prefix.address(class), *port, 0, 0),
            Self::Direct(address) => *address,
        }
    }
}

/// An address of IPv6, the only one that carries metadata.
///
/// # Errors
///
/// [`NotIpv6`] for everything else.
pub fn ipv6_socket(text: &str) -> Result<SocketAddrV6, NotIpv6> {
    match text.parse() {
        Ok(SocketAddr::V6(address)) => Ok(address),
        _ => Err(NotIpv6),
    }
}

/// Not an address and port of IPv6.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[IPV6-ADDRESS]:PORT wanted")]
pub struct NotIpv6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_read() {
        let spec: ClassSpec = "7=0.25,model:a,tool:b".parse().unwrap();
        assert_eq!((spec.id, spec.share), (7, 0.25));
        assert_eq!(spec.labels, ["model:a", "tool:b"]);
        assert_eq!("7".parse::<ClassSpec>().unwrap().share, 1.0);
        for wrong in ["", "x", "1=0", "1=-1", "1=nan", "1=x", "1,", "1=1,,a"] {
            assert_eq!(wrong.parse::<ClassSpec>(), Err(ClassSpecError), "{wrong}");
        }
    }

    #[test]
    fn the_class_is_the_end_of_the_address() {
        let prefix: ServicePrefix = "fd00:a9::/96".parse().unwrap();
        let expected: Ipv6Addr = "fd00:a9::1:2".parse().unwrap();
        assert_eq!(prefix.address(0x0001_0002), expected);
        for wrong in ["fd00:a9::", "fd00:a9::/64", "fd00:a9::1/96", "10.0.0.0/96"] {
            assert_eq!(
                wrong.parse::<ServicePrefix>(),
                Err(ServicePrefixError),
                "{wrong}"
            );
        }
    }
}
