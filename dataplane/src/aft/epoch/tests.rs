use super::*;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Write {
    /// Must arrive.
    Note(u32),
    /// May be dropped.
    Hint(u32),
    /// The last of each key is enough.
    Set(u8, u32),
}

impl Op for Write {
    type Key = u8;

    fn droppable(&self) -> bool {
        matches!(self, Self::Hint(_))
    }

    fn coalescing_key(&self) -> Option<u8> {
        match self {
            Self::Set(key, _) => Some(*key),
            _ => None,
        }
    }

    fn coalesces_with(&self, earlier: &Self) -> bool {
        matches!((self, earlier), (Self::Set(..), Self::Set(..)))
    }
}

#[derive(Debug, Default)]
struct Copy(Vec<Write>);

impl Absorb<Write> for Copy {
    fn absorb(&mut self, op: &Write) {
        self.0.push(op.clone());
    }
}

fn publisher(bound: usize) -> (Publisher<Copy, Write>, Reader<Copy>) {
    let (publisher, mut readers) = Publisher::new(Copy::default, 1, bound);
    (publisher, readers.remove(0))
}

#[test]
fn a_generation_is_seen_after_the_next_quiescent_point() {
    let (mut publisher, mut reader) = publisher(8);
    assert_eq!(publisher.publish(0), Publish::Idle);
    publisher.push(Write::Note(1));
    assert_eq!(publisher.publish(0), Publish::Swapped { epoch: 1 });
    assert_eq!((reader.epoch(), reader.get().0.len()), (0, 0));
    assert_eq!(publisher.behind(), 1);
    assert!(reader.refresh());
    assert!(!reader.refresh());
    assert_eq!(
        (reader.epoch(), &reader.get().0),
        (1, &vec![Write::Note(1)])
    );
    assert_eq!(publisher.behind(), 0);
    // The other copy catches up without a swap.
    assert_eq!(publisher.publish(0), Publish::Idle);
    publisher.push(Write::Note(2));
    assert_eq!(publisher.publish(0), Publish::Swapped { epoch: 2 });
    assert_eq!(publisher.current().0, [Write::Note(1), Write::Note(2)]);
    assert!(!std::ptr::eq(reader.get(), publisher.current()));
}

#[test]
fn a_stuck_reader_delays_the_next_epoch_and_shows() {
    let (mut publisher, mut reader) = publisher(8);
    let mut other = publisher.add_reader();
    publisher.push(Write::Note(1));
    publisher.publish(100);
    assert!(other.refresh());
    publisher.push(Write::Note(2));
    assert_eq!(publisher.publish(200), Publish::Waiting);
    assert_eq!(publisher.publish(300), Publish::Waiting);
    assert_eq!(
        (
            publisher.stalled_us(350),
            publisher.pending(),
            publisher.behind()
        ),
        (150, 1, 1)
    );
    assert_eq!(other.get().0, [Write::Note(1)]);
    assert!(reader.get().0.is_empty());
    reader.refresh();
    assert_eq!(publisher.publish(400), Publish::Swapped { epoch: 2 });
    assert_eq!((publisher.stalled_us(450), publisher.pending()), (0, 0));
    assert!(other.refresh() && reader.refresh());
    assert_eq!(reader.get().0, other.get().0);
}

#[test]
fn a_reader_that_is_dropped_keeps_nobody_waiting() {
    let (mut publisher, reader) = publisher(8);
    publisher.push(Write::Note(1));
    publisher.publish(0);
    publisher.push(Write::Note(2));
    assert_eq!(publisher.publish(0), Publish::Waiting);
    drop(reader);
    assert_eq!(publisher.publish(0), Publish::Swapped { epoch: 2 });
    let late = publisher.add_reader();
    assert_eq!((late.epoch(), late.get().0.len()), (2, 2));
}

#[test]
fn the_log_coalesces_then_drops_then_refuses() {
    let (mut publisher, mut reader) = publisher(8);
    publisher.push(Write::Note(0));
    publisher.publish(0);
    for n in 0..8 {
        assert_eq!(publisher.push(Write::Set(n as u8 % 2, n)), Pushed::Logged);
    }
    // The bound is reached: eight writes to two keys become two.
    assert_eq!(publisher.push(Write::Hint(1)), Pushed::Logged);
    assert_eq!(publisher.pending(), 3);
    for n in 0..5 {
        assert_eq!(publisher.push(Write::Note(n)), Pushed::Logged);
    }
    assert_eq!(publisher.push(Write::Hint(2)), Pushed::Dropped);
    for n in 5..13 {
        assert_eq!(publisher.push(Write::Note(n)), Pushed::Logged);
    }
    assert_eq!(publisher.push(Write::Note(99)), Pushed::Refused);
    assert_eq!((publisher.pending(), publisher.dropped()), (16, 2));

    reader.refresh();
    assert!(matches!(publisher.publish(0), Publish::Swapped { .. }));
    let mut expected = vec![
        Write::Note(0),
        Write::Set(0, 6),
        Write::Set(1, 7),
        Write::Hint(1),
    ];
    expected.extend((0..13).map(Write::Note));
    assert_eq!(publisher.current().0, expected);
}
