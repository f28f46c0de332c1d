//! Links the function to run at a fixed address, as Go programs are. A position-independent executable costs a fourth
//! of a cold start: the loader writes to each page of its tables first. Libraries, heap and stack keep their random
//! addresses.

fn main() {
    println!("cargo::rustc-link-arg-bins=-no-pie");
}
