//! Newtypes of every identifier on the wire, and the flag sets.

use core::fmt;

/// A newtype over an integer that prints as the integer.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $format:literal) => {
        $(#[$doc])*
        #[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    };
}

id!(
    /// Exact capability class: what the sender needs of an instance. The authority on which
    /// instances may be chosen.
    ClassId(u32), "{}"
);
id!(
    /// One agent instance of the cluster.
    InstanceId(u32), "{}"
);
id!(
    /// Entry of the key ring. 0 means unauthenticated: no MAC is present.
    KeyId(u16), "{}"
);
id!(
    /// Version of the label catalogue, which also salts the label hashes.
    CatalogueVersion(u16), "{}"
);
id!(
    /// Signature domain: the tenant whose key makes the prefix signatures. Residency never
    /// matches across domains.
    DomainId(u16), "{}"
);
id!(
    /// Policy scope of a request (the draft's `PolicyHint`).
    PolicyScope(u16), "{}"
);
id!(
    /// Cluster of the trust domain, mixed into every derived key.
    ClusterId(u32), "{}"
);
id!(
    /// Label hash as it travels: the low half of a [`Label32`].
    LabelHash(u16), "{:04x}"
);
id!(
    /// Label hash as the catalogue knows it.
    Label32(u32), "{:08x}"
);

impl KeyId {
    /// No key: the object carries no MAC.
    pub const NONE: Self = Self(0);

    /// Whether an object with this key id carries a MAC.
    #[inline]
    pub const fn has_mac(self) -> bool {
        self.0 != 0
    }
}

/// First four bytes of the hash chain at some depth, as they are on the wire.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(pub [u8; 4]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// The first `depth` units of a prompt, named by their signature.
///
/// A prefix that came out of a view has a depth of at least 1.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// Length in units of [`crate::UNIT_TOKENS`] tokens.
    pub depth: u16,
    /// Signature of the chain at that depth.
    pub signature: Signature,
}

impl Prefix {
    /// Bytes a prefix takes on the wire: depth (2), signature (4).
    pub(crate) const LEN: usize = 6;

    #[inline]
    pub(crate) const fn from_wire([d0, d1, s0, s1, s2, s3]: [u8; Self::LEN]) -> Self {
        Self {
            depth: u16::from_be_bytes([d0, d1]),
            signature: Signature([s0, s1, s2, s3]),
        }
    }

    #[inline]
    pub(crate) const fn to_wire(self) -> [u8; Self::LEN] {
        let [d0, d1] = self.depth.to_be_bytes();
        let [s0, s1, s2, s3] = self.signature.0;
        [d0, d1, s0, s1, s2, s3]
    }
}

/// A set of flag bits. Unknown bits are kept: they are ignored, and covered by the MAC.
macro_rules! flags {
    ($(#[$doc:meta])* $name:ident { $($(#[$bit_doc:meta])* $bit:ident = $value:literal;)* }) => {
        $(#[$doc])*
        #[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u8);

        impl $name {
            $($(#[$bit_doc])* pub const $bit: Self = Self($value);)*

            /// The empty set.
            pub const NONE: Self = Self(0);

            /// Whether every bit of `other` is set.
            #[inline]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// The set with the bits of `other` added.
            #[inline]
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The set with the bits of `other` taken away.
            #[inline]
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }
        }

        impl core::ops::BitOr for $name {
            type Output = Self;

            #[inline]
            fn bitor(self, other: Self) -> Self {
                self.with(other)
            }
        }
    };
}

flags!(
    /// Flags of a request.
    RequestFlags {
        /// Each datagram may be dispatched anew.
        NEW_TASK = 0x01;
        /// The cluster may hand the request to the class's alternate cluster.
        SPILL_OK = 0x02;
        /// The labels are a Bloom-256 filter instead of a list of hashes.
        BLOOM = 0x04;
    }
);
flags!(
    /// Flags of a state report.
    ReportFlags {
        /// The instance takes no new work.
        DRAINING = 0x01;
        /// The instance refuses the classes listed in the report.
        REFUSING = 0x02;
        /// The instance is starting and not yet at its full rate.
        WARMING = 0x04;
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains_asks_for_every_bit() {
        let set = RequestFlags::NEW_TASK | RequestFlags::BLOOM;
        assert!(set.contains(RequestFlags::BLOOM));
        assert!(set.contains(RequestFlags::NONE));
        assert!(!set.contains(RequestFlags::BLOOM | RequestFlags::SPILL_OK));
        assert_eq!(set.without(RequestFlags::BLOOM), RequestFlags::NEW_TASK);
    }

    #[test]
    fn prefix_keeps_its_bytes() {
        let bytes = [0x01, 0x02, 0xa0, 0xb0, 0xc0, 0xd0];
        let prefix = Prefix::from_wire(bytes);
        assert_eq!(prefix.depth, 0x0102);
        assert_eq!(prefix.signature, Signature([0xa0, 0xb0, 0xc0, 0xd0]));
        assert_eq!(prefix.to_wire(), bytes);
    }
}
