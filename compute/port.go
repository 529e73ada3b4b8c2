package compute

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
)

// handedOut remembers the ports that FreePort gave out in this process, since
// a port is free again between the question and the server's bind.
var handedOut struct {
	sync.Mutex
	ports map[int]bool
}

// lowestPort is where the search for free ports begins: above the ports that
// servers have by custom.
const lowestPort = 10000

// FreePort returns a TCP port on 127.0.0.1 that nobody listens on and that it
// has not returned before in this process. It lies outside the range from which
// the system takes ports for outgoing connections, so that a server which is
// down for a while finds it free again. Another process can still take it
// first: prefer listening on port 0 where the program allows it.
func FreePort() (int, error) {
	handedOut.Lock()
	defer handedOut.Unlock()
	end := ephemeralStart()
	for range 1000 {
		port := lowestPort + rand.IntN(end-lowestPort)
		if handedOut.ports[port] {
			continue
		}
		ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if err := ln.Close(); err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		if handedOut.ports == nil {
			handedOut.ports = map[int]bool{}
		}
		handedOut.ports[port] = true
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
