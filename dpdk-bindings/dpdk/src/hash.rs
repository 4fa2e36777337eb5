//! DPDK's hash table (`rte_hash`), as far as a comparison with it needs it: keys of one length, a number to each, looked up
//! in bulk.

use std::ffi::{CString, c_void};
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use dpdk_sys::{rte_hash, rte_hash_parameters};

use crate::eal::{Eal, EalInner};
use crate::errno::Errno;
use crate::lcore::SocketId;

/// DPDK prefixes the table's name for that of its ring, which must stay whole to stay unique.
const NAME_LIMIT: usize = dpdk_sys::DPDK_SYS_RING_NAME_SIZE - 1 - "HT_".len();

/// A table's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashConfig {
    /// Keys that fit, 8 to 2^30. Close to this many, an insertion may fail unless the table is extendable.
    pub entries: u32,
    /// Whether full buckets are extended, so that `entries` keys fit for certain.
    pub extendable: bool,
    /// The NUMA socket whose memory is used.
    pub socket: SocketId,
}

/// Why a table could not be made, or a key not entered.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The name is empty, longer than DPDK keeps apart, or holds a NUL byte.
    #[error("hash table {table:?}: a name has 1 to {limit} bytes, none of them NUL")]
    Name {
        /// The name asked for.
        table: String,
        /// The longest allowed, in bytes.
        limit: usize,
    },
    /// `rte_hash_create` failed.
    #[error("hash table {table}: rte_hash_create: {errno}")]
    Create {
        /// The table.
        table: String,
        /// DPDK's reason.
        errno: Errno,
    },
    /// `rte_hash_add_key_data` failed, most often because the table is full.
    #[error("rte_hash_add_key_data: {errno}")]
    Insert {
        /// DPDK's reason.
        errno: Errno,
    },
}

/// A table with keys of `KEY` bytes; one thread's.
pub struct HashTable<const KEY: usize> {
    /// Made by `rte_hash_create` with `key_len` = `KEY`, freed by [`Drop`] alone. Being a pointer, it keeps the table on
    /// the thread that made it: without flags for concurrency `rte_hash` wants one thread at a time.
    table: NonNull<rte_hash>,
    memory_bytes: usize,
    eal: Arc<EalInner>,
}

impl<const KEY: usize> HashTable<KEY> {
    /// Keys of one look-up, at most.
    pub const BULK: usize = dpdk_sys::DPDK_SYS_HASH_BULK_MAX as usize;

    const KEYS_HAVE_BYTES: () = assert!(KEY > 0 && KEY <= 1 << 16, "a key has 1 to 65,536 bytes");

    /// Makes a table of this name, which must be new in the process. Its hash is DPDK's default (CRC-32C where there is an
    /// instruction for it) unless the caller hashes.
    ///
    /// # Errors
    /// [`HashError::Name`], [`HashError::Create`].
    pub fn create(eal: &Eal, name: &str, config: &HashConfig) -> Result<Self, HashError> {
        const { Self::KEYS_HAVE_BYTES };
        let c_name = CString::new(name)
            .ok()
            .filter(|_| (1..=NAME_LIMIT).contains(&name.len()));
        let c_name = c_name.ok_or_else(|| HashError::Name {
            table: name.to_owned(),
            limit: NAME_LIMIT,
        })?;
        let parameters = rte_hash_parameters {
            name: c_name.as_ptr(),
            entries: config.entries,
            reserved: 0,
            key_len: KEY as u32,
            hash_func: None,
            hash_func_init_val: 0,
            socket_id: config.socket.index(),
            extra_flag: if config.extendable {
                dpdk_sys::DPDK_SYS_HASH_EXTENDABLE
            } else {
                0
            },
        };
        let control = eal.inner.control.lock();
        let before = heap_bytes(eal);
        // SAFETY: the EAL is up; the parameters and the name, which DPDK copies, live through the call. DPDK checks
        // `entries`; no hash function is given, so it takes its own.
        let table = unsafe { dpdk_sys::rte_hash_create(&raw const parameters) };
        let table = NonNull::new(table).ok_or_else(|| HashError::Create {
            table: name.to_owned(),
            errno: Errno::last(),
        })?;
        let memory_bytes = heap_bytes(eal).saturating_sub(before);
        drop(control);
        Ok(Self {
            table,
            memory_bytes,
            eal: Arc::clone(&eal.inner),
        })
    }

    /// Enters a key, or gives one that is there another number.
    ///
    /// # Errors
    /// [`HashError::Insert`].
    pub fn insert(&mut self, key: &[u8; KEY], value: usize) -> Result<(), HashError> {
        // SAFETY: the table is live, `&mut self` makes this its only call, and DPDK reads `key_len` = KEY bytes of the key,
        // which it copies. The data pointer is a number that neither DPDK nor anyone else follows.
        let returned = unsafe {
            dpdk_sys::rte_hash_add_key_data(
                self.as_ptr(),
                key.as_ptr().cast(),
                ptr::without_provenance_mut(value),
            )
        };
        inserted(returned)
    }

    /// The same with the key's hash, for a table whose every key is entered and looked up with the caller's.
    ///
    /// # Errors
    /// [`HashError::Insert`].
    pub fn insert_hashed(
        &mut self,
        key: &[u8; KEY],
        hash: u32,
        value: usize,
    ) -> Result<(), HashError> {
        // SAFETY: as in `insert`; a hash may be any number: it chooses buckets within the table's mask.
        let returned = unsafe {
            dpdk_sys::rte_hash_add_key_with_hash_data(
                self.as_ptr(),
                key.as_ptr().cast(),
                hash,
                ptr::without_provenance_mut(value),
            )
        };
        inserted(returned)
    }

    /// Looks up `keys`, at most [`Self::BULK`], all others being ignored. Bit *i* of what is returned is set where key *i*
    /// was found; its number is then in `values[i]`, which is left alone otherwise.
    #[inline]
    pub fn lookup<const N: usize>(&self, keys: &[&[u8; KEY]; N], values: &mut [usize; N]) -> u64 {
        let mut hits = 0_u64;
        // SAFETY: the table is live and nobody changes it while `&self` is borrowed. A reference to an array is a pointer to
        // its first byte, so `keys` is N pointers to KEY readable bytes each, which DPDK only reads. `values` has room for
        // N pointers, and a usize is as wide as one and takes any bits. DPDK takes at most BULK keys.
        unsafe {
            dpdk_sys::rte_hash_lookup_bulk_data(
                self.as_ptr(),
                keys.as_ptr().cast_mut().cast::<*const c_void>(),
                N.min(Self::BULK) as u32,
                &raw mut hits,
                values.as_mut_ptr().cast::<*mut c_void>(),
            );
        }
        hits
    }

    /// The same with the keys' hashes.
    #[inline]
    pub fn lookup_hashed<const N: usize>(
        &self,
        keys: &[&[u8; KEY]; N],
        hashes: &mut [u32; N],
        values: &mut [usize; N],
    ) -> u64 {
        let mut hits = 0_u64;
        // SAFETY: as in `lookup`; `hashes` has N numbers, and is ours to lend for writing, too.
        unsafe {
            dpdk_sys::rte_hash_lookup_with_hash_bulk_data(
                self.as_ptr(),
                keys.as_ptr().cast_mut().cast::<*const c_void>(),
                hashes.as_mut_ptr(),
                N.min(Self::BULK) as u32,
                &raw mut hits,
                values.as_mut_ptr().cast::<*mut c_void>(),
            );
        }
        hits
    }

    /// Forgets every key.
    pub fn clear(&mut self) {
        // SAFETY: the table is live, and `&mut self` makes this its only call.
        unsafe { dpdk_sys::rte_hash_reset(self.as_ptr()) }
    }

    /// Keys in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        // SAFETY: the table is live. A negative count is an error that a live table does not give.
        usize::try_from(unsafe { dpdk_sys::rte_hash_count(self.as_ptr()) }).unwrap_or(0)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What making the table took from the EAL's heap, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    #[inline]
    fn as_ptr(&self) -> *mut rte_hash {
        self.table.as_ptr()
    }
}

fn inserted(returned: i32) -> Result<(), HashError> {
    let checked = Errno::check(returned);
    checked
        .map(drop)
        .map_err(|errno| HashError::Insert { errno })
}

/// What is taken of the EAL's heap on the sockets that have lcores.
fn heap_bytes(eal: &Eal) -> usize {
    let sockets = eal.sockets().into_iter();
    let of_socket = |socket: SocketId| {
        // SAFETY: a struct of integers, for which zeros are values.
        let mut stats: dpdk_sys::rte_malloc_socket_stats = unsafe { std::mem::zeroed() };
        // SAFETY: the EAL is up, and DPDK writes into `stats` alone; it refuses a socket that it does not know.
        unsafe { dpdk_sys::rte_malloc_get_socket_stats(socket.index(), &raw mut stats) };
        stats.heap_allocsz_bytes
    };
    sockets.map(of_socket).sum()
}

impl<const KEY: usize> Drop for HashTable<KEY> {
    fn drop(&mut self) {
        let _control = self.eal.control.lock();
        // SAFETY: the table is ours alone and is not used again; the EAL is up while `eal` is held.
        unsafe { dpdk_sys::rte_hash_free(self.as_ptr()) };
    }
}

impl<const KEY: usize> fmt::Debug for HashTable<KEY> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashTable")
            .field("key_bytes", &KEY)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
