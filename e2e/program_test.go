package e2e

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"go.uber.org/goleak"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/loopback"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/internal/postgres"
	"github.com/oei-ms/oei-ms/internal/syncbuf"
)

const adminPassword = "correct horse battery"

// binary is the program, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "oei-ms-e2e-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "oei-ms")
	build := exec.Command("go", "build", "-o", binary)
	if raceEnabled {
		build.Args = append(build.Args, "-race")
	}
	build.Args = append(build.Args, "github.com/oei-ms/oei-ms")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v: %s", err, out))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// process is a running program.
type process struct {
	t         testing.TB
	cmd       *exec.Cmd
	dir       string // its data directory
	api, mqtt string // host:port
	out       *syncbuf.Buffer
	ended     chan struct{}
}

// serve starts `oei-ms serve` with args and these settings on top of a private data directory and
// free ports, and waits until it is ready.
func serve(t testing.TB, dir string, settings ...string) *process {
	t.Helper()
	p := launch(t, dir, []string{"serve"}, settings...)
	p.waitReady()
	return p
}

// launch starts the program and does not wait.
func launch(t testing.TB, dir string, args []string, settings ...string) *process {
	t.Helper()
	p := &process{t: t, dir: dir, out: &syncbuf.Buffer{}, ended: make(chan struct{})}
	p.cmd = exec.Command(binary, args...)
	p.cmd.Dir = t.TempDir() // where there is no .env
	p.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
		"DATA_DIR=" + dir, "HOST=127.0.0.1", "PORT=0", "MQTT_PORT=0",
		"ADMIN_PASSWORD=" + adminPassword,
	}, settings...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // the tests look at ProcessState
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("output of the program:\n%s", p.out)
		}
	})
	return p
}

var (
	apiLine  = regexp.MustCompile(`API +http://(\S+)/docs`)
	mqttLine = regexp.MustCompile(`MQTT v5 +(?:by the broker at )?(\S+)`)
)

func (p *process) waitReady() {
	p.t.Helper()
	p.eventually(30*time.Second, "it says where it listens", func() bool {
		api, mqtt := apiLine.FindStringSubmatch(p.out.String()), mqttLine.FindStringSubmatch(
			p.out.String(),
		)
		if api == nil || mqtt == nil {
			return false
		}
		p.api, p.mqtt = api[1], mqtt[1]
		return true
	})
	p.eventually(30*time.Second, "it is ready", func() bool {
		res, err := http.Get("http://" + p.api + "/health/ready")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	http.DefaultClient.CloseIdleConnections()
}

// eventually waits until ok, and fails when the program ends before that.
func (p *process) eventually(within time.Duration, what string, ok func() bool) {
	p.t.Helper()
	deadline := time.After(within)
	for !ok() {
		select {
		case <-p.ended:
			p.t.Fatalf("the program ended before %s:\n%s", what, p.out)
		case <-deadline:
			p.t.Fatalf("not within %v: %s", within, what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// kill ends it with SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// stop ends it with SIGTERM and returns its exit code.
func (p *process) stop() int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		p.t.Fatal("it has not ended 10 s after SIGTERM")
	}
	return p.cmd.ProcessState.ExitCode()
}

// stacks ends it by SIGQUIT, which prints the stacks of its goroutines.
func (p *process) stacks() {
	_ = p.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-p.ended:
	case <-time.After(5 * time.Second):
	}
}

// login returns an API client that is logged in as admin.
func (p *process) login() *client.ClientWithResponses {
	p.t.Helper()
	base := "http://" + p.api
	c, err := client.NewClientWithResponses(base)
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := c.LoginWithResponse(p.t.Context(),
		client.LoginRequest{Username: "admin", Password: adminPassword})
	if err != nil || res.JSON200 == nil {
		p.t.Fatalf("login: %v %s", err, body(res))
	}
	bearer := "Bearer " + res.JSON200.AccessToken
	c, err = client.NewClientWithResponses(base,
		client.WithHTTPClient(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}),
		client.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
			r.Header.Set("Authorization", bearer)
			return nil
		}))
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func body(res *client.LoginResponse) string {
	if res == nil {
		return ""
	}
	return string(res.Body)
}

// device is a registered gateway with one sensor.
type device struct {
	key       string
	secret    string
	gatewayID int64
	sensorID  int64
	keepAlive uint16 // seconds; 0 is 30
}

// topic returns the topic of its sensor's readings.
func (d device) topic() string { return "sensors/" + d.key + "/t1/data" }

// registerAll registers n gateways.
func (p *process) registerAll(n int) []device {
	p.t.Helper()
	api := p.login()
	devices := make([]device, n)
	for i := range devices {
		devices[i] = p.register(api, fmt.Sprintf("gateway-%d", i))
	}
	return devices
}

// register creates a gateway with a sensor "t1".
func (p *process) register(c *client.ClientWithResponses, key string) device {
	p.t.Helper()
	ctx := p.t.Context()
	g, err := c.CreateGatewayWithResponse(ctx,
		client.GatewayCreate{Key: new(key), Name: "Gateway " + key})
	if err != nil || g.JSON201 == nil {
		p.t.Fatalf("create gateway: %v %s", err, g.Body)
	}
	s, err := c.CreateSensorWithResponse(ctx,
		client.SensorCreate{
			Key:       new("t1"),
			Name:      "Temperature",
			Type:      "temperature",
			GatewayID: g.JSON201.ID,
		})
	if err != nil || s.JSON201 == nil {
		p.t.Fatalf("create sensor: %v %s", err, s.Body)
	}
	cred, err := c.CreateCredentialWithResponse(ctx, g.JSON201.ID)
	if err != nil || cred.JSON201 == nil {
		p.t.Fatalf("create credential: %v %s", err, cred.Body)
	}
	return device{
		key:       key,
		secret:    cred.JSON201.Secret,
		gatewayID: g.JSON201.ID,
		sensorID:  s.JSON201.ID,
	}
}

// connect connects the gateway to the broker at addr with MQTT v5. lost is called when the
// connection breaks.
func (d device) connect(ctx context.Context, addr string, lost func()) (*paho.Client, error) {
	return dial(ctx, addr, d.connectPacket(), paho.ClientConfig{
		OnClientError:      func(error) { lost() },
		OnServerDisconnect: func(*paho.Disconnect) { lost() },
	})
}

// connectPacket returns the CONNECT of the gateway.
func (d device) connectPacket() *paho.Connect {
	return &paho.Connect{
		ClientID: d.key, CleanStart: true, KeepAlive: cmp.Or(d.keepAlive, 30),
		Username: d.key, UsernameFlag: true, Password: []byte(d.secret), PasswordFlag: true,
	}
}

// dial connects to the broker at addr with connect, for as long as ctx lasts.
func dial(
	ctx context.Context, addr string, connect *paho.Connect, cfg paho.ClientConfig,
) (*paho.Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	// an acknowledgement may have to wait for the database
	cfg.Conn, cfg.PacketTimeout = conn, time.Hour
	c := paho.NewClient(cfg)
	if _, err = c.Connect(ctx, connect); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect %s: %w", connect.ClientID, err)
	}
	return c, nil
}

// dsn returns the connection string of the private cluster.
func (p *process) dsn() string {
	p.t.Helper()
	dsn := postgres.RunningDSN(filepath.Join(p.dir, "postgres"))
	if dsn == "" {
		p.t.Fatal("the private cluster does not run")
	}
	return dsn
}

// status returns the status of GET path without a login; 0 when there is no answer within 8 s.
func (p *process) status(path string) int {
	c := http.Client{Timeout: 8 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get("http://" + p.api + path)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	return res.StatusCode
}

// metric returns the sum of the samples of a metric that have all of labels.
func (p *process) metric(name string, labels ...string) (sum float64) {
	p.t.Helper()
	res, err := http.Get("http://" + p.api + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer res.Body.Close()
	found := false
lines:
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		found = true // it may have no such labels yet
		for _, label := range labels {
			if !strings.Contains(rest, label) {
				continue lines
			}
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndex(rest, " ")+1:], 64)
		if err != nil {
			p.t.Fatalf("%s: %v", lines.Text(), err)
		}
		sum += v
	}
	if !found {
		p.t.Fatalf("/metrics has no %s", name)
	}
	return sum
}

// freePorts returns settings of ports that stay the same across restarts.
func freePorts(t *testing.T) []string {
	t.Helper()
	return []string{"PORT=" + freePort(t), "MQTT_PORT=" + freePort(t)}
}

// freePort returns a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	port, err := loopback.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}

// dataDir returns a data directory that the private cluster's user may enter.
func dataDir(t testing.TB) string { return pgtest.Dir(t) }
