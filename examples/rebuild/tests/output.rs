//! What the example prints.

use std::process::Command;

#[test]
fn the_difference_is_shown_accepted_and_rolled_back() {
    let folder = std::env::temp_dir().join(format!("es-example-rebuild-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("store.db");
    let output = Command::new(env!("CARGO_BIN_EXE_rebuild")).arg(&file).output().expect("the example runs");
    let again = Command::new(env!("CARGO_BIN_EXE_rebuild")).arg(&file).output().expect("the example runs");
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let expected = r#"1. The read model, by version 1 of its code
   ann  cents 13500
   bob  cents 2000
2. The same code again: it must give the same
   at position 4 both have the same 2 row(s); readers are given turnover@2
3. Version 2 counts the bookings too. Version 1 leaves alone what version 2 writes, and the other way round:
   the live read model turnover@2 was written by version 1 of its code, and this is version 2; rebuild it with this version, or run that one
4. Built beside the live one, it differs, so somebody has to look
   at position 4 the live one has 2 row(s), the rebuilt one 2; 2 differ
  only turnover.bookings is new in 2 of 2 row(s)
  turnover ["ann"]: bookings - -> 3
  turnover ["bob"]: bookings - -> 1
   Readers still have:
   ann  cents 13500
   bob  cents 2000
5. Accepted: from one moment to the next, readers have the new one
   ann  cents 13500  bookings 3
   bob  cents 2000  bookings 1
6. Rolled back, at once
   readers are given turnover@2
   ann  cents 13500
   bob  cents 2000
"#;
    assert_eq!(text, expected);
    assert!(!again.status.success(), "a file that is there is not written to");
}
