//! How the process holds on to memory.

/// Keeps freed memory for the next tensor, where the C library would give each large one back to
/// the system and take new pages for the next, which costs a training step a quarter of its time.
/// To be called once, when the program starts. Does nothing where the C library is not glibc.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const LARGEST_OF_GLIBC: libc::c_int = 32 << 20;
        // SAFETY: the options are known to glibc, which takes any number for them and checks it.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST_OF_GLIBC);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
            libc::mallopt(libc::M_TOP_PAD, 2 * LARGEST_OF_GLIBC);
        }
    }
}
