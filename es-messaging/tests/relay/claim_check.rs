//! Content that is too large for a broker.

use std::{sync::Arc, time::Duration};

use es_core::{BlobStore, DeadReason, MemoryStore, Recorded, StoreError};
use es_messaging::{
    ClaimCheck, ClaimError, FileBlobStore, Message, Relay, RelayBuilder, claim_check::resolve, extension, map_with,
};
use es_testkit::{SeededRng, bank::AccountEvent};
use time::OffsetDateTime;

use crate::{
    dead_letters::letters,
    publisher::{Behaviour, Scripted},
    support::{deposit, runner},
};

fn folder() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("es-blobs-{}", uuid::Uuid::now_v7()))
}

/// A message of as many bytes as were deposited.
pub(crate) fn bytes_out() -> RelayBuilder<impl es_messaging::MessageMapper<Event = AccountEvent>> {
    let mapper = map_with(|event: &Recorded<AccountEvent>, messages| {
        let AccountEvent::Deposited { cents } = event.event else { return Ok(()) };
        let bytes = vec![b'x'; cents as usize];
        let draft = messages.message("bytes").data("text/plain", bytes);
        messages.add(draft)
    });
    Relay::builder("bytes_out", "/bank", mapper)
}

#[tokio::test(start_paused = true)]
async fn large_content_goes_to_the_blob_store_and_comes_back() {
    let folder = folder();
    let blobs = Arc::new(FileBlobStore::open(&folder).await.unwrap());
    let (store, publisher) = (MemoryStore::new(), Scripted::with(Behaviour::default(), SeededRng::new(1), 10_000));
    for bytes in [100, 50_000, 4_000] {
        deposit(&store, "ann", bytes).await;
    }
    let relay = bytes_out().claim_check(ClaimCheck::new(blobs.clone()).over(3_000));
    runner(&store, &publisher, relay).0.catch_up().await.unwrap();
    let kept = publisher.kept();
    assert_eq!(kept.iter().map(|outgoing| outgoing.message.has_data()).collect::<Vec<_>>(), [true, false, false]);
    assert!(kept[1].message.size() < 1_000 && kept[1].message.extension(extension::DATA_REF).is_some());
    for (outgoing, bytes) in kept.iter().zip([100, 50_000, 4_000]) {
        // As the other side gets it.
        let wire = Message::from_structured(&outgoing.message.to_structured().unwrap()).unwrap();
        let whole = resolve(&*blobs, wire).await.unwrap();
        assert_eq!((whole.data().len(), whole.extension(extension::DATA_REF)), (bytes, None));
        assert_eq!(whole.id(), outgoing.message.id());
    }
    blobs.drop_blobs_before(OffsetDateTime::now_utc() + Duration::from_secs(60)).await.unwrap();
    let missing = resolve(&*blobs, kept[1].message.clone()).await.unwrap_err();
    assert!(matches!(&missing, ClaimError::Missing { id, .. } if id == kept[1].message.id()), "{missing:?}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_claim_check_what_is_too_large_is_a_dead_letter() {
    let (store, publisher) = (MemoryStore::new(), Scripted::with(Behaviour::default(), SeededRng::new(1), 10_000));
    for bytes in [100, 50_000, 4_000, 17_000_000] {
        deposit(&store, "ann", bytes).await;
    }
    runner(&store, &publisher, bytes_out()).0.catch_up().await.unwrap();
    assert_eq!(publisher.kept().len(), 2);
    let letters = letters(&store).await;
    assert_eq!(letters.iter().map(|dead| dead.letter.reason).collect::<Vec<_>>(), [DeadReason::Refused; 2]);
    assert!(
        letters[0].letter.error.contains("the broker takes 10000; use a claim check"),
        "{}",
        letters[0].letter.error
    );
    assert_eq!(Message::from_raw(&letters[0].letter.message).unwrap().data().len(), 50_000);
    // The last is too large for the dead letters too, and is never published without its content.
    assert!(letters[1].letter.error.contains("too large to be kept here"), "{}", letters[1].letter.error);
    assert!(letters[1].letter.message.header("es-content-dropped").is_some());
}

#[tokio::test]
async fn a_folder_keeps_blobs_as_a_whole_and_by_their_names_alone() {
    let folder = folder();
    let blobs = FileBlobStore::open(&folder).await.unwrap();
    blobs.put_blob("a.1", b"one").await.unwrap();
    blobs.put_blob("a.1", b"one").await.unwrap();
    assert!(matches!(blobs.put_blob("a.1", b"two").await, Err(StoreError::Refused { .. })));
    assert_eq!(blobs.blob("a.1").await.unwrap().as_deref(), Some(&b"one"[..]));
    assert_eq!(blobs.blob("a.2").await.unwrap(), None);
    for name in ["", "../a.1", "a/b", "a b", "\u{e9}"] {
        assert!(matches!(blobs.put_blob(name, b"x").await, Err(StoreError::InvalidName(_))), "{name:?}");
        assert!(blobs.blob(name).await.is_err());
    }
    for name in [".", "..", ".hidden"] {
        assert!(matches!(blobs.put_blob(name, b"x").await, Err(StoreError::Refused { .. })), "{name:?}");
    }
    // What a crash left is no blob, and goes with the others.
    std::fs::write(folder.join(".unfinished-x"), b"half").unwrap();
    let now = OffsetDateTime::now_utc();
    assert_eq!(blobs.drop_blobs_before(now - Duration::from_secs(60)).await.unwrap(), 0);
    assert_eq!(blobs.drop_blobs_before(now + Duration::from_secs(60)).await.unwrap(), 1);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_reference_of_somebody_elses_is_left_alone() {
    let blobs = MemoryStore::new();
    let builder = Message::builder("t", "/s").extension(extension::DATA_REF, "https://elsewhere.example/x");
    let message = builder.build().unwrap();
    assert_eq!(resolve(&blobs, message.clone()).await.unwrap(), message);
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_no_file_of_the_folder_is_neither_read_nor_written_nor_dropped() {
    use std::os::unix::fs::symlink;
    let (folder, elsewhere) = (folder(), folder());
    let blobs = FileBlobStore::open(&folder).await.unwrap();
    std::fs::create_dir_all(&elsewhere).unwrap();
    let secret = elsewhere.join("secret");
    std::fs::write(&secret, b"secret").unwrap();
    let written_at = std::fs::metadata(&secret).unwrap().modified().unwrap();
    symlink(&secret, folder.join("link")).unwrap();
    symlink(elsewhere.join("nothing"), folder.join("dangling")).unwrap();
    symlink(&elsewhere, folder.join("folder-link")).unwrap();
    std::fs::create_dir(folder.join("folder")).unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap();
    assert!(pipe.success());
    for name in ["link", "dangling", "folder-link", "folder", "pipe"] {
        let read = blobs.blob(name).await;
        assert!(matches!(read, Err(StoreError::Refused { .. })), "{name}: {read:?}");
        let put = blobs.put_blob(name, b"secret").await;
        assert!(matches!(put, Err(StoreError::Refused { .. })), "{name}: {put:?}");
    }
    let later = OffsetDateTime::now_utc() + Duration::from_secs(60);
    assert_eq!(blobs.drop_blobs_before(later).await.unwrap(), 0);
    assert_eq!(std::fs::read(&secret).unwrap(), b"secret");
    assert_eq!(std::fs::metadata(&secret).unwrap().modified().unwrap(), written_at);
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 1);
    std::fs::remove_dir_all(folder).unwrap();
    std::fs::remove_dir_all(elsewhere).unwrap();
}
