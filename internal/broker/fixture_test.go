package broker

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/syncbuf"
	"github.com/oei-ms/oei-ms/internal/testutil"
)

// limit is how long a test waits for an event.
const limit = 20 * time.Second

// testBroker is a running broker whose pipeline is the test.
type testBroker struct {
	*Broker
	t    testing.TB
	addr string
	out  syncbuf.Buffer // the log
	tls  string         // addresses too, when the settings ask for them
	ws   string
	reg  *prometheus.Registry
	got  chan ingest.Message // submitted messages, except statuses
	stop func()              // stops the broker and waits for it

	mu       sync.Mutex
	submit   func(context.Context, ingest.Message) error // nil: all are taken
	statuses []string                                    // gateway and status, in order
	links    []ingest.Link                               // of the statuses
	secrets  map[string]string                           // of the gateways, by key
	ids      map[string]int64                            // of the gateways, by key
	logins   int                                         // how often a secret was checked
	revoked  map[int64]bool
	renamed  map[int64]string // keys of gateways that have changed, by credential
	down     bool             // the database is not available
	// wrong secrets by address and key; nil: they are not limited
	failures map[string]int
	// nil: no session outlasts the broker. MQTT sessions by client; those of connected ones last
	// for ever
	kept *map[string]time.Duration
	full chan struct{} // not nil: nothing is taken until it is closed
}

const forEver = time.Duration(1<<63 - 1)

// maxFailures is how many wrong secrets the testBroker allows when it limits them.
const maxFailures = 3

func (b *testBroker) beginLogin(_ context.Context, address, key string) (time.Duration, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.failures == nil:
	case b.failures[address+" "+key] >= maxFailures:
		return 7 * time.Minute, nil
	default:
		b.failures[address+" "+key]++
	}
	return 0, nil
}

func (b *testBroker) endLogin(_ context.Context, address, key string, _ bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures != nil {
		b.failures[address+" "+key]--
	}
	return nil
}

func (b *testBroker) resume(
	_ context.Context, client string, _ Gateway, clean, keep bool,
) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kept == nil {
		return false, nil
	}
	_, present := (*b.kept)[client]
	if keep {
		(*b.kept)[client] = forEver
	} else {
		delete(*b.kept, client)
	}
	return present && !clean, nil
}

func (b *testBroker) suspend(_ context.Context, client string, while time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kept == nil {
		return nil
	}
	if _, there := (*b.kept)[client]; there && while > 0 {
		(*b.kept)[client] = while
	} else {
		delete(*b.kept, client)
	}
	return nil
}

// newTestBroker starts a broker with the gateways g1, g2 and g3, whose secrets are "secret".
func newTestBroker(t testing.TB, change func(*Config)) *testBroker {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &testBroker{
		t:       t,
		addr:    l.Addr().String(),
		reg:     prometheus.NewRegistry(),
		got:     make(chan ingest.Message, 100_000),
		revoked: map[int64]bool{},
		secrets: map[string]string{"g1": "secret", "g2": "secret", "g3": "secret"},
		ids:     map[string]int64{"g1": 1, "g2": 2, "g3": 3},
		kept:    &map[string]time.Duration{},
	}
	ls := Listeners{Plain: l}
	if cfg.TLSPort != 0 {
		ls.TLS, b.tls = b.listen()
	}
	if cfg.WebSocketPort != 0 {
		ls.WebSocket, b.ws = b.listen()
	}
	access := Access{
		Login:            b.login,
		LoginCertificate: b.loginCertificate,
		AreValid:         b.areValid,
		Resume:           b.resume,
		Suspend:          b.suspend,
		BeginLogin:       b.beginLogin,
		EndLogin:         b.endLogin,
		HasGateway:       b.hasGateway,
	}
	b.Broker, err = New(cfg, ls, access, b.take,
		slog.New(slog.NewTextHandler(&b.out, &slog.HandlerOptions{Level: slog.LevelInfo})), b.reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(limit):
			var stacks strings.Builder
			_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
			t.Errorf("the broker does not stop: %s", &stacks)
		}
	})
	t.Cleanup(b.stop)
	return b
}

func (b *testBroker) listen() (net.Listener, string) {
	b.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	return l, l.Addr().String()
}

// loginCertificate accepts every gateway that has a secret. Their credentials are numbered from
// 9000.
func (b *testBroker) loginCertificate(_ context.Context, key string) (Gateway, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return Gateway{}, false, errors.New("the database is away")
	}
	_, known := b.secrets[key]
	credential := 9000 + int64(key[len(key)-1])
	return Gateway{b.ids[key], key, credential}, known && !b.revoked[credential], nil
}

func (b *testBroker) login(_ context.Context, key, secret string) (Gateway, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return Gateway{}, false, errors.New("the database is away")
	}
	b.logins++
	want, known := b.secrets[key]
	return Gateway{b.ids[key], key, int64(len(key)*1000) + int64(key[len(key)-1])}, known &&
		want == secret, nil
}

func (b *testBroker) hasGateway(_ context.Context, keys []string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(keys, func(key string) bool { return b.secrets[key] != "" }), nil
}

func (b *testBroker) areValid(_ context.Context, gateways []Gateway) ([]bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return nil, errors.New("the database is away")
	}
	valid := make([]bool, len(gateways))
	for i, g := range gateways {
		key := cmp.Or(b.renamed[g.Credential], "g"+string(rune(g.Credential%1000)))
		valid[i] = !b.revoked[g.Credential] && key == g.Key
	}
	return valid, nil
}

func (b *testBroker) take(ctx context.Context, m ingest.Message) error {
	b.mu.Lock()
	submit, full := b.submit, b.full
	b.mu.Unlock()
	if full != nil {
		select {
		case <-full:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.mu.Lock()
	if strings.HasSuffix(m.Topic, "/status") {
		b.links = append(b.links, m.Link)
		b.statuses = append(b.statuses,
			m.Topic[:len(m.Topic)-len("/status")]+" by "+m.Gateway+" "+string(m.Payload))
		b.mu.Unlock()
		return nil
	}
	b.mu.Unlock()
	if submit != nil {
		return submit(ctx, m)
	}
	b.got <- m
	return nil
}

// submittedStatuses returns the statuses that were submitted so far, one a line.
func (b *testBroker) submittedStatuses() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.statuses, "\n")
}

// waitForStatuses waits until exactly these statuses are submitted.
func (b *testBroker) waitForStatuses(want ...string) {
	b.t.Helper()
	testutil.Eventually(b.t, testutil.Timeout, "the statuses are "+strings.Join(want, ", "),
		func() bool {
			return b.submittedStatuses() == strings.Join(want,
				"\n")
		}, b.submittedStatuses)
}

// set changes the fields that the broker's callbacks read.
func (b *testBroker) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// next returns the next n messages.
func (b *testBroker) next(n int) []ingest.Message {
	b.t.Helper()
	var ms []ingest.Message
	for len(ms) < n {
		select {
		case m := <-b.got:
			ms = append(ms, m)
		case <-time.After(limit):
			b.t.Fatalf("got %d of %d messages", len(ms), n)
		}
	}
	return ms
}

// none checks that nothing more was submitted by the time that a client of its own is served.
func (b *testBroker) none() {
	b.t.Helper()
	c := b.client("g3")
	c.publish(1, 1, "sensors/g3/s/data", "last")
	if got := string(b.next(1)[0].Payload); got != "last" {
		b.t.Errorf("submitted: %s", got)
	}
	c.close()
}
