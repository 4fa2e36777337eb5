//! Frames that the driver hands over in a way that the path cannot take.

use afr_dataplane::verdict::DropReason;

use crate::support::setup::{CHAT, EDGE, Setup, service};
use crate::support::world::{World, syn};

#[test]
fn a_frame_in_several_buffers() {
    let mut world = World::new(Setup::new(1));
    let packet = syn(1, service(CHAT));
    let outcome = world.segmented(EDGE, &packet);
    outcome.dropped(DropReason::FrameSegmented);
}

#[test]
fn without_room_for_an_answer_there_is_none() {
    let mut world = World::new(Setup::new(1));
    // An ICMPv6 error takes 48 bytes more than the packet; the Ethernet header's 14 are there already.
    let packet = syn(1, service(CHAT)).hops(1);
    world
        .cramped(EDGE, &packet, 48)
        .refused(DropReason::HopLimit);
    world
        .cramped(EDGE, &packet, 47)
        .dropped(DropReason::HopLimit);
}
