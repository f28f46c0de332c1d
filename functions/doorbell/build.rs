//! The function is linked to run at a fixed address, as Go's are: otherwise the loader writes to each page of its
//! tables before it starts, which takes a fourth of a start. Libraries, heap and stack still lie at random.

fn main() {
    println!("cargo::rustc-link-arg-bins=-no-pie");
}
