//! Messages with descriptors, and the loopback.

use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::{Errno, check, own};

/// Receives one message, up to the buffer's capacity (no page of it is touched that the message does
/// not fill); descriptors that come with it are closed at exec. An empty message means
/// that the other side is gone.
pub(crate) fn receive(fd: RawFd, buffer: &mut Vec<u8>, flags: i32) -> Result<Vec<OwnedFd>, Errno> {
    buffer.clear();
    let mut control = [0_u64; 16]; // aligned; room for 8 descriptors and the header
    let mut vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.capacity(),
    };
    // SAFETY: a zeroed msghdr is a value; its pointers are set below.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    let n = loop {
        match call!(libc::recvmsg(fd, &raw mut message, flags | libc::MSG_CMSG_CLOEXEC) as i64) {
            Err(libc::EINTR) => {}
            other => break other?,
        }
    };
    let mut fds = Vec::new();
    // SAFETY: recvmsg filled `message`, whose buffers outlive this block; the CMSG macros walk only
    // within msg_controllen, and SCM_RIGHTS data is an array of descriptors that are ours now.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let count =
                    ((*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize) / size_of::<RawFd>();
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                fds.extend((0..count).map(|i| own(data.add(i).read_unaligned())));
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    // SAFETY: the kernel has written the first n bytes, which lie within the capacity it was told.
    unsafe { buffer.set_len(n as usize) };
    if message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(libc::EMSGSIZE);
    }
    Ok(fds)
}

/// Sends one message, with a descriptor if one is given.
pub(crate) fn send(fd: RawFd, bytes: &[u8], attached: Option<RawFd>) -> Result<(), Errno> {
    let mut control = [0_u64; 4];
    let mut vector = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: a zeroed msghdr is a value; its pointers are set below.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    if let Some(attached) = attached {
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: `control` has room for one header and one descriptor, and is aligned for both.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
            libc::CMSG_DATA(header)
                .cast::<RawFd>()
                .write_unaligned(attached);
        }
    }
    loop {
        match call!(libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL) as i64) {
            Err(libc::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// How much may wait in a socket of this one's kind before its sender has to wait.
pub(crate) fn send_buffer_bytes(socket: RawFd) -> Result<u64, Errno> {
    let mut bytes: libc::c_int = 0;
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    call!(libc::getsockopt(
        socket,
        libc::SOL_SOCKET,
        libc::SO_SNDBUF,
        (&raw mut bytes).cast(),
        &raw mut size,
    ))?;
    Ok(bytes.max(0) as u64)
}

/// Brings the loopback of this network namespace up.
pub(crate) fn loopback_up() -> Result<(), Errno> {
    let socket = call!(libc::socket(
        libc::AF_INET,
        libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
        0
    ))
    .map(|fd| own(fd as RawFd))?;
    // SAFETY: a zeroed ifreq is a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as _;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as _;
    call!(libc::ioctl(
        socket.as_raw_fd(),
        libc::SIOCSIFFLAGS as _,
        &raw const request
    ))
    .map(drop)
}
