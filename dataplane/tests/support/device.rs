//! A DPDK device between two capture files (`net_pcap`), from which the pool's buffers then come and to which what leaves
//! goes: the same packets through real mbufs, receive and transmit calls.

use std::cell::RefCell;
use std::path::Path;
use std::sync::OnceLock;

use arrayvec::ArrayVec;
use dpdk::{Eal, Mbuf, Mempool, MempoolConfig, Port, PortConfig, RxQueue, TxQueue};

thread_local! {
    static DEVICE: RefCell<Option<Device>> = const { RefCell::new(None) };
}

struct Device {
    pool: Mempool,
    _port: Port,
    rx: RxQueue,
    tx: TxQueue,
}

pub(crate) fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        let args = [
            "--no-huge",
            "--no-shconf",
            "--no-pci",
            "--no-telemetry",
            "-m",
            "256",
        ];
        Eal::init(args.into_iter().chain(["--log-level=*:critical"])).unwrap()
    })
}

/// Runs `work` with this thread's buffers on a device that receives the frames of `from` and writes what it transmits to
/// `to`. Every mbuf has come back afterwards.
pub(crate) fn with_device(name: &str, from: &Path, to: &Path, work: impl FnOnce()) {
    let config = MempoolConfig {
        mbufs: 255,
        cache: 0,
        data_room: 4_096,
        ..MempoolConfig::default()
    };
    let pool = Mempool::create(eal(), name, &config).unwrap();
    let devargs = format!(
        "net_pcap_{name},rx_pcap={},tx_pcap={}",
        from.display(),
        to.display()
    );
    let names = Port::attach(eal(), &devargs).unwrap();
    let port = PortConfig::new(pool.clone());
    let (port, mut rx, mut tx) = Port::open(eal(), &names[0], &port).unwrap();
    DEVICE.set(Some(Device {
        pool: pool.clone(),
        _port: port,
        rx: rx.remove(0),
        tx: tx.remove(0),
    }));
    work();
    // Closing the port writes the file out.
    DEVICE.set(None);
    assert_eq!(pool.available(), pool.size(), "mbufs are missing");
}

/// The next frame from this thread's device, if it has one.
pub(super) fn receive() -> Option<Mbuf> {
    DEVICE.with_borrow_mut(|device| {
        let device = device.as_mut()?;
        let mut one = ArrayVec::<Mbuf, 1>::new();
        assert_eq!(
            device.rx.receive(&mut one),
            1,
            "the file has no more frames"
        );
        one.pop()
    })
}

/// An empty mbuf of this thread's device's pool, if it has one.
pub(super) fn alloc() -> Option<Mbuf> {
    DEVICE.with_borrow(|device| device.as_ref().and_then(|device| device.pool.alloc()))
}

/// Transmits by this thread's device.
pub(super) fn transmit(mbuf: Mbuf) {
    DEVICE.with_borrow_mut(|device| {
        let mut one = ArrayVec::<Mbuf, 1>::new();
        one.push(mbuf);
        assert_eq!(device.as_mut().unwrap().tx.transmit(&mut one), 1);
    });
}
