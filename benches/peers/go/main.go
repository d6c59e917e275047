// The Go participants of the public benchmark. Their orders are described in src/order.rs.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// peer is what a participant can do. A new one is a file that implements this.
type peer interface {
	// lock waits until it has the name.
	lock(ctx context.Context, name string) (guard, error)
}

// guard is a hold; release says whether it was still held.
type guard interface {
	release() bool
}

func connect(name, address string, watchdog time.Duration) (peer, error) {
	switch name {
	case "redsync":
		return newRedsync(address), nil
	case "rueidislock":
		return newRueidislock(address, watchdog)
	}
	return nil, fmt.Errorf("no participant is called %q", name)
}

// Arguments: NAME --address HOST:PORT --watchdog MS.
func main() {
	watchdog, err := strconv.Atoi(os.Args[5])
	if err == nil {
		var connected peer
		connected, err = connect(os.Args[1], os.Args[3], time.Duration(watchdog)*time.Millisecond)
		if err == nil {
			obey(connected)
			return
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func obey(peer peer) {
	fmt.Println("ready")
	crowd := &crowd{peer: peer}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer, err := answer(peer, crowd, strings.Fields(lines.Text()))
		if err != nil {
			answer = "error " + strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Println(answer)
	}
}

func answer(peer peer, crowd *crowd, words []string) (string, error) {
	number := func(at int) int {
		number, _ := strconv.Atoi(words[at])
		return number
	}
	switch words[0] {
	case "run":
		run := run{
			peer:   peer,
			shared: words[2] == "shared",
			tasks:  number(3),
			first:  number(4),
			held:   time.Duration(number(5)) * time.Millisecond,
			name:   words[7],
			time:   time.Duration(number(8)) * time.Millisecond,
			file:   words[9],
		}
		if words[1] != "plain" || number(6) != 1 {
			return "", fmt.Errorf("no such lock: %s, %s deep", words[1], words[6])
		}
		return run.run()
	case "hold":
		return crowd.hold(number(1), words[2])
	case "release":
		return crowd.release(), nil
	case "wait":
		return crowd.wait(number(1), words[2]), nil
	case "granted":
		return crowd.waited(time.Duration(number(1)) * time.Millisecond), nil
	}
	return "", fmt.Errorf("unknown order %s", words[0])
}
