package e2e

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/cli"
	"github.com/oei-ms/oei-ms/internal/mosquitto"
	"github.com/oei-ms/oei-ms/internal/postgres"
	"github.com/oei-ms/oei-ms/internal/syncbuf"
	"github.com/oei-ms/oei-ms/store"
)

func TestReading_ReachesDatabaseAPIAndSockets(t *testing.T) {
	t.Parallel()
	t.Run("through the embedded broker", func(t *testing.T) {
		p := serve(t, dataDir(t))
		followOneReading(t, p, p.mqtt, true)
	})
	t.Run("through mosquitto", func(t *testing.T) {
		m := mosquitto.Start(t)
		host, port, err := net.SplitHostPort(m.Addr())
		if err != nil {
			t.Fatal(err)
		}
		p := serve(t, dataDir(t), "MQTT_HOST="+host, "MQTT_PORT="+port)
		followOneReading(t, p, m.Addr(), false)
	})
}

// followOneReading publishes to the broker, embedded or external, and looks for the reading in the
// API and on sockets.
func followOneReading(t *testing.T, p *process, broker string, embedded bool) {
	api := p.login()
	d := p.register(api, "press-1")
	live := p.subscribe(api, fmt.Sprintf("sensors/%d", d.sensorID),
		fmt.Sprintf("gateways/%d", d.gatewayID))

	gateway, err := d.connect(t.Context(), broker, func() {})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().UTC().Truncate(time.Microsecond)
	res, err := gateway.Publish(t.Context(), &paho.Publish{
		Topic: "sensors/press-1/t1/data", QoS: 1,
		Payload: fmt.Appendf(nil, `{"value": 21.5, "timestamp": %q, "quality": "good"}`,
			at.Format(time.RFC3339Nano)),
	})
	if err != nil || res.ReasonCode != 0 {
		t.Fatalf("PUBACK: got %+v, %v; want success", res, err)
	}

	want := client.Reading{SensorID: d.sensorID, Timestamp: at, Quality: client.QualityGood}
	p.eventually(5*time.Second, "the reading is in the raw data", func() bool {
		rows, err := api.ListReadingsWithResponse(t.Context(),
			&client.ListReadingsParams{SensorID: []client.ID{d.sensorID}})
		if err != nil || rows.JSON200 == nil {
			t.Fatalf("raw data: %v %s", err, rows.Body)
		}
		if len(*rows.JSON200) == 0 && !embedded {
			return false // an external broker acknowledges before the commit
		}
		if len(*rows.JSON200) != 1 {
			t.Fatalf("raw data: got %d readings, want 1", len(*rows.JSON200))
		}
		got := (*rows.JSON200)[0]
		if got.SensorID != want.SensorID || !got.Timestamp.Equal(at) ||
			got.Quality != want.Quality || got.Value.MustGet() != 21.5 {
			t.Fatalf("raw data: got %s, want 21.5 at %v", rows.Body, at)
		}
		return true
	})
	latest, err := api.ListLatestReadingsWithResponse(t.Context(),
		&client.ListLatestReadingsParams{GatewayID: &d.gatewayID})
	if err != nil || latest.JSON200 == nil || len(*latest.JSON200) != 1 ||
		(*latest.JSON200)[0].Value.MustGet() != 21.5 {
		t.Fatalf("latest: got %v %s, want one of 21.5", err, latest.Body)
	}
	live.want(t,
		fmt.Sprintf(`{"type":"sensor_data","sensor_id":%d,"data":`+
			`{"value":21.5,"timestamp":%q,"quality":"good"},"gateway_id":%d,`+
			`"sensor_type":"temperature"}`,
			d.sensorID, at.Format("2006-01-02T15:04:05.000000Z"), d.gatewayID))
	live.wantStatus(t, d.gatewayID, "online")

	if err := gateway.Disconnect(&paho.Disconnect{}); err != nil {
		t.Fatal(err)
	}
	if embedded { // an external broker does not report a disconnect without a will
		live.wantStatus(t, d.gatewayID, "offline")
	}
	if code := p.stop(); code != 0 {
		t.Errorf("SIGTERM: got exit code %d, want 0", code)
	}
	live.wantClose(t, websocket.CloseGoingAway)
}

// socket is a WebSocket to the program with all frames it received.
type socket struct {
	conn   *websocket.Conn
	frames []string
}

// subscribe opens a socket that is subscribed to topics.
func (p *process) subscribe(api *client.ClientWithResponses, topics ...string) *socket {
	p.t.Helper()
	ticket, err := api.CreateWebSocketTicketWithResponse(p.t.Context())
	if err != nil || ticket.JSON201 == nil {
		p.t.Fatalf("ticket: %v %s", err, ticket.Body)
	}
	conn, res, err := websocket.DefaultDialer.DialContext(p.t.Context(),
		"ws://"+p.api+"/ws?ticket="+ticket.JSON201.Ticket, nil)
	if err != nil {
		p.t.Fatalf("websocket: %v", err)
	}
	_ = res.Body.Close()
	p.t.Cleanup(func() { _ = conn.Close() })
	s := &socket{conn: conn}
	if err := conn.WriteJSON(map[string]any{"type": "subscribe", "topics": topics}); err != nil {
		p.t.Fatal(err)
	}
	s.find(p.t, func(frame string) bool { return strings.Contains(frame, `"type":"subscribed"`) })
	return s
}

// find reads until a frame matches, unless an earlier one does.
func (s *socket) find(t testing.TB, match func(string) bool) {
	t.Helper()
	for i := 0; ; i++ {
		if i == len(s.frames) {
			if err := s.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			_, b, err := s.conn.ReadMessage()
			if err != nil {
				t.Fatalf("websocket: %v; got so far %q", err, s.frames)
			}
			s.frames = append(s.frames, strings.TrimSpace(string(b)))
		}
		if match(s.frames[i]) {
			return
		}
	}
}

func (s *socket) want(t *testing.T, frame string) {
	t.Helper()
	s.find(t, func(got string) bool { return got == frame })
}

func (s *socket) wantStatus(t *testing.T, gateway int64, status string) {
	t.Helper()
	s.find(t, func(got string) bool {
		var m struct {
			Type      string `json:"type"`
			GatewayID int64  `json:"gateway_id"`
			Status    string `json:"status"`
		}
		return json.Unmarshal([]byte(got), &m) == nil && m.Type == "gateway_status" &&
			m.GatewayID == gateway && m.Status == status
	})
}

// values reads until the socket is closed, and returns how often it received each value of a
// reading.
func (s *socket) values(t *testing.T) map[int64]int {
	seen := map[int64]int{}
	if err := s.conn.SetReadDeadline(time.Time{}); err != nil {
		t.Error(err)
	}
	for {
		var m struct {
			Type string `json:"type"`
			Data struct {
				Value float64 `json:"value"`
			} `json:"data"`
		}
		if err := s.conn.ReadJSON(&m); err != nil {
			return seen
		}
		if m.Type == "sensor_data" {
			seen[int64(m.Data.Value)]++
		}
	}
}

func (s *socket) wantClose(t *testing.T, code int) {
	t.Helper()
	for {
		if _, _, err := s.conn.ReadMessage(); err != nil {
			if !websocket.IsCloseError(err, code) {
				t.Errorf("websocket: got %v, want close code %d", err, code)
			}
			return
		}
	}
}

func TestDemo_ServesReadings(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	p := launch(t, dataDir(t), []string{"serve", "--demo"})
	p.waitReady()
	api := p.login()
	p.eventually(15*time.Second, "the plant's readings are served", func() bool {
		latest, err := api.ListLatestReadingsWithResponse(t.Context(),
			&client.ListLatestReadingsParams{})
		if err != nil || latest.JSON200 == nil {
			t.Fatalf("latest: %v %s", err, latest.Body)
		}
		return len(*latest.JSON200) >= 20
	})
	t.Logf("first readings after %v", time.Since(begin).Round(time.Millisecond))
	if !strings.Contains(p.out.String(), "/docs as demo /") {
		t.Error("the login is not printed")
	}
	if code := p.stop(); code != 0 {
		t.Errorf("SIGTERM: got exit code %d, want 0", code)
	}
}

func TestStart_NamesTheRemedyOfABadSetting(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	_, port, _ := net.SplitHostPort(busy.Addr().String())
	tests := map[string]struct {
		settings []string
		want     []string
	}{
		"a port that is taken": {
			[]string{"PORT=" + port}, []string{"PORT", port, "in use"},
		},
		"an mqtt port that is taken": {
			[]string{"MQTT_PORT=" + port}, []string{"MQTT_PORT", port, "in use"},
		},
		"a port out of range": {
			[]string{"PORT=70000"}, []string{"PORT", "70000", "65535"},
		},
		"an unreachable database": {
			[]string{"DATABASE_URL=postgres://u:p@127.0.0.1:1/x?sslmode=disable"},
			[]string{"database", "refused"},
		},
		"an invalid database URL": {
			[]string{"DATABASE_URL=postgres://%zz"}, []string{"DATABASE_URL"},
		},
		"an unknown log level": {
			[]string{"LOG_LEVEL=loud"}, []string{"LOG_LEVEL", "loud", "debug"},
		},
		"a short secret": {
			[]string{"SECRET_KEY=short"}, []string{"SECRET_KEY", "32"},
		},
		"a data directory that is a file": {[]string{"DATA_DIR=/dev/null"}, []string{"/dev/null"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { wantStartError(t, test.settings, test.want...) })
	}
}

// wantStartError starts the server and wants it to exit at once with an error that contains all of
// want.
func wantStartError(t *testing.T, settings []string, want ...string) {
	t.Helper()
	p := launch(t, dataDir(t), []string{"serve"}, settings...)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("it has not ended")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("got exit code %d, want 1", code)
	}
	for _, want := range want {
		if !strings.Contains(p.out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, p.out)
		}
	}
	if strings.Contains(p.out.String(), "u:p@") {
		t.Errorf("it shows a password:\n%s", p.out)
	}
}

func TestStart_NamesTheRemedyOfAnUnusableDatabase(t *testing.T) {
	t.Parallel()
	other := serve(t, dataDir(t)) // its cluster serves as an external server
	dsn := postgres.RunningDSN(filepath.Join(other.dir, "postgres"))
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, q := range []string{
		`CREATE DATABASE newer TEMPLATE template0`,
		`CREATE DATABASE careless TEMPLATE template0`,
		`ALTER DATABASE careless SET synchronous_commit = off`,
	} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	newer := dsn + " dbname=newer"
	if _, _, err := store.Migrate(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	setVersion, err := sql.Open("postgres", newer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := setVersion.Exec(`UPDATE schema_migrations SET version = 9000`); err != nil {
		t.Fatal(err)
	}
	if err := setVersion.Close(); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		dsn  string
		want []string
	}{
		"it is missing": {
			dsn + " dbname=nope", []string{"nope", "createdb", "DATABASE_URL"},
		},
		"the user is unknown": {
			dsn + " user=stranger", []string{"stranger", "user and password", "DATABASE_URL"},
		},
		"its schema is newer": {newer, []string{"9000", "newer program"}},
		"it may lose what it has committed": {
			dsn + " dbname=careless", []string{"synchronous_commit", "set it to on"},
		},
	}
	for name, test := range tests {
		t.Run(name,
			func(t *testing.T) {
				wantStartError(t, []string{"DATABASE_URL=" + test.dsn},
					test.want...)
			})
	}
}

// TestStop_LeaksNoGoroutine runs the program in this process, where TestMain checks for leaked
// goroutines.
func TestStop_LeaksNoGoroutine(t *testing.T) {
	for name, value := range map[string]string{
		"DATA_DIR": dataDir(t), "HOST": "127.0.0.1", "PORT": "0", "MQTT_PORT": "0",
		"ADMIN_PASSWORD": adminPassword,
	} {
		t.Setenv(name, value)
	}
	t.Chdir(t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	p := &process{t: t, out: &syncbuf.Buffer{}, ended: make(chan struct{})}
	ran := make(chan error, 1)
	go func() {
		defer close(p.ended)
		cmd := cli.Command(p.out, p.out)
		cmd.SetArgs([]string{"serve"})
		ran <- cmd.ExecuteContext(ctx)
	}()
	p.waitReady()
	api := p.login()
	d := p.register(api, "press-1")
	live := p.subscribe(api, fmt.Sprintf("gateways/%d", d.gatewayID))
	gateway, err := d.connect(t.Context(), p.mqtt, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gateway.Publish(t.Context(), &paho.Publish{
		Topic: "sensors/press-1/t1/data", QoS: 1, Payload: []byte(`{"value":1}`),
	}); err != nil {
		t.Fatal(err)
	}
	stop()
	select {
	case err := <-ran:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it has not ended 10 s after the stop")
	}
	live.wantClose(t, websocket.CloseGoingAway)
	<-gateway.Done()
}

func TestHealth_ListsEachDependency(t *testing.T) {
	t.Parallel()
	p := serve(t, dataDir(t))
	res, err := http.Get("http://" + p.api + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var h client.Health
	if err := json.NewDecoder(res.Body).Decode(&h); err != nil {
		t.Fatal(err)
	}
	got := map[client.DependencyName]client.DependencyState{}
	for _, d := range h.Dependencies {
		got[d.Name] = d.State
	}
	if h.Status != client.HealthStatusHealthy || got["database"] != client.DependencyStateUp ||
		got["mqtt"] != client.DependencyStateUp {
		t.Errorf("got %+v, want database and mqtt up", h)
	}
	if h.Database != client.ConnectionStatusConnected ||
		h.Redis != client.ConnectionStatusConnected ||
		h.Mqtt != client.ConnectionStatusConnected || h.Version == "" ||
		time.Since(h.Timestamp).Abs() > time.Hour {
		t.Errorf("got %+v, want every member that old clients read", h)
	}
	http.DefaultClient.CloseIdleConnections()
}
