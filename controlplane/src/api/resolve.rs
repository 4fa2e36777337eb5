//! From what a request calls things to the things.

use std::sync::Arc;

use afr_dataplane::aft::Aft;
use afr_dataplane::config::{Catalogue, Class, Config, Instance};
use afr_dataplane::id::{ClassIx, Slot};
use afr_wire::{CatalogueVersion, ClassId, InstanceId, Label32};

use super::error::{ApiError, Entity};

/// The instance called `given`, by name first, else by id.
pub(super) fn instance<'a>(aft: &'a Aft, given: &str) -> Result<(Slot, Arc<Instance>), ApiError> {
    let named = |name: &str| -> Option<Slot> {
        let is_it = |(_, tenant): &(Slot, &'a Arc<Instance>)| tenant.name == name;
        tenants(aft).find(is_it).map(|(slot, _)| slot)
    };
    let by_id = || aft.slot_of(InstanceId(given.parse().ok()?));
    let found = named(given).or_else(by_id);
    let tenant = found.and_then(|slot| Some((slot, Arc::clone(aft.instance(slot)?))));
    tenant.ok_or_else(|| {
        let names = tenants(aft).map(|(_, tenant)| tenant.name.clone());
        ApiError::unknown(Entity::Instance, given, names)
    })
}

/// Who has which slot, by slot.
pub(super) fn tenants(aft: &Aft) -> impl Iterator<Item = (Slot, &Arc<Instance>)> {
    let slots = aft.instances.iter().enumerate();
    slots.filter_map(|(at, tenant)| Some((Slot(at as u16), tenant.as_ref()?)))
}

/// The class called `given`, by name first, else by id.
pub(super) fn class<'a>(config: &'a Config, given: &str) -> Result<(ClassIx, &'a Class), ApiError> {
    let named = config.classes.iter().find(|(_, class)| class.name == given);
    let by_id = || {
        let at = config.class(ClassId(given.parse().ok()?))?;
        Some((at, config.classes.get(at)?))
    };
    named.or_else(by_id).ok_or_else(|| {
        let names = config.classes.iter().map(|(_, class)| class.name.clone());
        ApiError::unknown(Entity::Class, given, names)
    })
}

/// The catalogue of a version, the current one if none is given. `None`: there is none at all.
pub(super) fn catalogue(
    config: &Config,
    given: Option<u16>,
) -> Result<Option<&Catalogue>, ApiError> {
    let Some(version) = given else {
        return Ok(config.catalogues.first());
    };
    match config.catalogue(CatalogueVersion(version)) {
        Some(catalogue) => Ok(Some(catalogue)),
        None => {
            let versions = config.catalogues.iter().map(|c| c.version.to_string());
            Err(ApiError::unknown(
                Entity::Catalogue,
                version.to_string(),
                versions,
            ))
        }
    }
}

/// The hashes of labels.
pub(super) fn labels(
    catalogue: Option<&Catalogue>,
    given: &[String],
) -> Result<Vec<Label32>, ApiError> {
    let known = catalogue.map_or(&[][..], |catalogue| &catalogue.labels);
    let hash_of = |name: &String| {
        let label = known.iter().find(|(label, _)| label == name);
        label.map(|(_, hash)| *hash).ok_or_else(|| {
            let names = known.iter().map(|(label, _)| label.clone());
            ApiError::unknown(Entity::Label, name, names)
        })
    };
    given.iter().map(hash_of).collect()
}
