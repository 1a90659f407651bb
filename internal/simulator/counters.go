package simulator

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mattn/go-isatty"
)

// counters count readings by outcome: each is sent once, and then acknowledged, rejected or
// unknown. A reading that is published again counts once. Safe for concurrent use.
type counters struct {
	gateways  int
	connected atomic.Int64
	sent      atomic.Int64
	acked     atomic.Int64
	repeated  atomic.Int64
	lastError atomic.Value // string: why a gateway was not connected

	mu       sync.Mutex
	rejected map[byte]*rejection
}

// rejection counts the readings rejected with a reason code; text is the reason string of the
// first.
type rejection struct {
	readings int64
	text     string
}

func newCounters(gateways int) *counters {
	return &counters{gateways: gateways, rejected: map[byte]*rejection{}}
}

func (c *counters) reject(readings int, reason byte, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rejected[reason] == nil {
		c.rejected[reason] = &rejection{text: text}
	}
	c.rejected[reason].readings += int64(readings)
}

// rejections returns how many readings were rejected and why: "3 payload format invalid".
func (c *counters) rejections() (total int64, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var texts []string
	for _, reason := range slices.Sorted(maps.Keys(c.rejected)) {
		r := c.rejected[reason]
		total += r.readings
		text := fmt.Sprintf("%s %s", thousands(r.readings), reasonName(reason))
		if r.text != "" {
			text += ": " + r.text
		}
		texts = append(texts, text)
	}
	return total, strings.Join(texts, "; ")
}

// show writes a progress line to out until done is closed: on a terminal every second in place,
// otherwise every 5 s.
func (c *counters) show(out io.Writer, done <-chan struct{}) {
	every, begin, end := 5*time.Second, "", "\n"
	if f, ok := out.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		every, begin, end = time.Second, "\r\x1b[K", ""
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var sent, acked int64
	last := time.Now()
	for {
		select {
		case <-done:
			if begin != "" {
				fmt.Fprintln(out)
			}
			return
		case now := <-tick.C:
			elapsed := now.Sub(last).Seconds()
			sentNow, ackedNow := c.sent.Load(), c.acked.Load()
			fmt.Fprint(out, begin,
				c.line(float64(sentNow-sent)/elapsed, float64(ackedNow-acked)/elapsed), end)
			sent, acked, last = sentNow, ackedNow, now
		}
	}
}

// line returns the state of the plant, with rates in readings per second.
func (c *counters) line(sendRate, ackRate float64) string {
	text := fmt.Sprintf("plant: %d/%d gateways · %s/s sent · %s/s acked · %s acked",
		c.connected.Load(), c.gateways, thousands(int64(sendRate+0.5)),
		thousands(int64(ackRate+0.5)), thousands(c.acked.Load()))
	total, why := c.rejections()
	if pending := c.sent.Load() - c.acked.Load() - total; pending > 0 {
		text += fmt.Sprintf(" · %s in flight", thousands(pending))
	}
	if total > 0 {
		text += " · rejected " + why
	}
	if reason, ok := c.lastError.Load().(string); ok && c.connected.Load() < int64(c.gateways) {
		text += " · " + reason
	}
	return text
}

// summary counts the whole run. Unknown readings were sent and not answered.
func (c *counters) summary() string {
	rejected, why := c.rejections()
	text := fmt.Sprintf("plant: %s readings sent, %s acked, %s rejected, %s unknown",
		thousands(c.sent.Load()), thousands(c.acked.Load()),
		thousands(rejected), thousands(c.sent.Load()-c.acked.Load()-rejected))
	if repeated := c.repeated.Load(); repeated > 0 {
		text += fmt.Sprintf("; %s of them sent again", thousands(repeated))
	}
	if why != "" {
		text += "; rejected " + why
	}
	return text
}

// thousands writes n with its digits in groups of three: 1,234,567.
func thousands(n int64) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

const sessionTakenOver = 0x8e

// reasons are the MQTT v5 names of the reason codes that a gateway may receive.
var reasons = map[byte]string{
	0x80:             "unspecified error",
	0x81:             "malformed packet",
	0x82:             "protocol error",
	0x83:             "implementation specific error",
	0x87:             "not authorized",
	0x89:             "server busy",
	0x8b:             "server shutting down",
	0x8d:             "keep alive timeout",
	sessionTakenOver: "session taken over",
	0x90:             "topic name invalid",
	0x91:             "packet identifier in use",
	0x93:             "receive maximum exceeded",
	0x95:             "packet too large",
	0x96:             "message rate too high",
	0x97:             "quota exceeded",
	0x98:             "administrative action",
	0x99:             "payload format invalid",
}

func reasonName(code byte) string {
	if name, ok := reasons[code]; ok {
		return fmt.Sprintf("%s (0x%02x)", name, code)
	}
	return fmt.Sprintf("reason 0x%02x", code)
}
