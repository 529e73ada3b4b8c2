package compute

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// handedOut holds the ports that FreePort gave out in this process, since a port
// is free again between the question and the server's bind. The sockets keep
// other processes of ours from choosing the same.
var handedOut struct {
	sync.Mutex
	ports map[int]net.Listener
}

// reserve takes a port, for as long as this process lives, from all other callers
// of FreePort on this machine. It does so by an abstract socket, which the system
// takes away with the process.
// Where there are none (nil, and an error that is not EADDRINUSE), other processes
// may choose the same.
func reserve(port int) (net.Listener, error) {
	return net.Listen("unix", "@walhaven/port/"+strconv.Itoa(port))
}

// lowestPort is where the search for free ports begins: above the ports that
// servers have by custom.
const lowestPort = 10000

// FreePort returns a TCP port on 127.0.0.1 that nobody listens on and that it
// has not returned before in this process, nor in another that still runs. It lies
// outside the range from which the system takes ports for outgoing connections, so
// that a server which is down for a while finds it free again. A stranger can still
// take it first: prefer listening on port 0 where the program allows it.
func FreePort() (int, error) {
	handedOut.Lock()
	defer handedOut.Unlock()
	end := ephemeralStart()
	for range 1000 {
		port := lowestPort + rand.IntN(end-lowestPort)
		if _, given := handedOut.ports[port]; given {
			continue
		}
		reserved, err := reserve(port)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			if reserved != nil {
				_ = reserved.Close()
			}
			continue
		}
		if err := ln.Close(); err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		if handedOut.ports == nil {
			handedOut.ports = map[int]net.Listener{}
		}
		handedOut.ports[port] = reserved
		return port, nil
	}
	return 0, fmt.Errorf("find a free port: none between %d and %d", lowestPort, end)
}

// ephemeralStart is the first port that the system takes for outgoing
// connections.
func ephemeralStart() int {
	const usual = 32768
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return usual
	}
	var low int
	if _, err := fmt.Sscan(string(text), &low); err != nil || low <= lowestPort+1000 {
		return usual
	}
	return low
}
