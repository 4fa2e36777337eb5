//! Which instances accept which policy scope.

use afr_wire::PolicyScope;
use hashbrown::HashMap;

use crate::aft::bitmap::Bitmap;
use crate::config::Claim;
use crate::id::Slot;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Scope {
    /// Who accepts it, by name or because they accept any.
    mask: Bitmap,
    /// How many do by name.
    named: u32,
}

/// Masks by policy scope, of those scopes that some instance names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    /// Who accepts any scope.
    any: Bitmap,
    /// How many instances do not.
    particular: u32,
    scopes: HashMap<PolicyScope, Scope>,
}

impl Policies {
    /// Of no instances.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            any: Bitmap::new(slots),
            particular: 0,
            scopes: HashMap::new(),
        }
    }

    /// Who accepts `scope`; `None` if all do.
    #[inline]
    #[must_use]
    pub fn mask(&self, scope: PolicyScope) -> Option<&Bitmap> {
        if self.particular == 0 {
            return None;
        }
        let named = self.scopes.get(&scope);
        Some(named.map_or(&self.any, |scope| &scope.mask))
    }

    /// An instance that makes this claim has come into `slot`.
    pub(super) fn enter(&mut self, slot: Slot, claim: &Claim<PolicyScope>) {
        match claim {
            Claim::Any => {
                self.any.set(slot);
                for scope in self.scopes.values_mut() {
                    scope.mask.set(slot);
                }
            }
            Claim::Only(named) => {
                self.particular += 1;
                for id in named {
                    let scope = self.scopes.entry(*id).or_insert_with(|| Scope {
                        mask: self.any.clone(),
                        named: 0,
                    });
                    // A scope named twice counts once.
                    scope.named += u32::from(scope.mask.set(slot));
                }
            }
        }
    }

    /// The instance that made this claim has left `slot`.
    pub(super) fn leave(&mut self, slot: Slot, claim: &Claim<PolicyScope>) {
        match claim {
            Claim::Any => {
                self.any.clear(slot);
                for scope in self.scopes.values_mut() {
                    scope.mask.clear(slot);
                }
            }
            Claim::Only(named) => {
                self.particular = self.particular.saturating_sub(1);
                for id in named {
                    if let Some(scope) = self.scopes.get_mut(id) {
                        scope.named -= u32::from(scope.mask.clear(slot));
                        if scope.named == 0 {
                            self.scopes.remove(id);
                        }
                    }
                }
            }
        }
    }
}
