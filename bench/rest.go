package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oei-ms/oei-ms/internal/postgres"
)

const (
	restClients = 8 // connections that send one request after the other
	restRounds  = 3 // in which service and peer take turns
)

// restOperation is an operation that service and peer answer.
type restOperation struct {
	title string
	path  string
	body  func(n int64) []byte // of request n; nil: GET
}

var restOperations = []restOperation{
	{title: "latest reading of a sensor", path: "/api/data/latest?sensor_id=7"},
	{title: "1,000 readings of a sensor", path: "/api/data?sensor_id=7&limit=1000"},
	{title: "100 sensors", path: "/api/sensors?limit=100"},
	{title: "write 100 readings", path: "/api/data", body: hundredReadings},
}

// hundredReadings are of 100 sensors, at another instant for each request.
func hundredReadings(n int64) []byte {
	var b bytes.Buffer
	b.WriteString(`{"readings":[`)
	at := time.Now().Add(-time.Hour).Add(time.Duration(n) * time.Microsecond).UTC()
	for i := range 100 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"sensor_id":%d,"timestamp":"%s","value":%d.5}`, i+1,
			at.Format("2006-01-02T15:04:05.000000Z07:00"), i)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

// restTarget is a server that is measured.
type restTarget struct {
	base, token string
	pid         int
}

// rest compares each hot operation with a plain handler over the same database, in turn, and with
// bare Echo.
func rest(ctx context.Context, s *service, token string, o options) (err error) {
	dsn := postgres.RunningDSN(s.dir + "/postgres")
	if err := s.fillForREST(ctx, token, dsn); err != nil {
		return err
	}
	peer, stop, err := startPeer(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	own := restTarget{"http://" + s.api, token, s.cmd.Process.Pid}
	fmt.Printf("%-30s %9s %8s %8s  %-24s  %-24s\n", "", "requests/s", "p50", "p99",
		"CPU µs: server + database", "of the peer")
	for _, op := range restOperations {
		if o.only != "" && !strings.Contains(op.title, o.only) {
			continue
		}
		var ratios []float64
		for range restRounds {
			mine, err := s.ask(ctx, own, op, o.duration)
			if err != nil {
				return fmt.Errorf("%s: %w", op.title, err)
			}
			plain, err := s.ask(ctx, peer, op, o.duration)
			if err != nil {
				return fmt.Errorf("%s, the peer: %w", op.title, err)
			}
			ratios = append(ratios, mine.rate/plain.rate)
			fmt.Printf("%-30s %s  %s  %.2f\n", op.title, mine, plain.short(), mine.rate/plain.rate)
		}
		fmt.Printf("%-30s %.2f of the plain handler's rate, median of %d\n\n", "", median(ratios),
			restRounds)
	}
	bare, err := s.ask(ctx, peer, restOperation{path: "/bare"}, o.duration)
	if err != nil {
		return err
	}
	fmt.Printf("%-30s %s\n", "Echo, a constant answer", bare)
	return nil
}

// fillForREST registers 100 sensors and stores 3,000 readings of sensor 7.
func (s *service) fillForREST(ctx context.Context, token, dsn string) error {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := register(ctx, db, options{gateways: 1, points: 100}); err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(`{"readings":[`)
	for i, at := 0, time.Now().Add(-2*time.Hour).UTC(); i < 3000; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"sensor_id":7,"timestamp":"%s","value":%d.25}`,
			at.Add(time.Duration(i)*time.Second).Format(time.RFC3339Nano), i)
	}
	b.WriteString(`]}`)
	own := restTarget{base: "http://" + s.api, token: token}
	return own.send(ctx, http.DefaultClient, restOperation{
		path: "/api/data",
		body: func(int64) []byte { return []byte(b.String()) },
	})
}

// startPeer starts plainServer as a process of its own, for its processor time.
func startPeer(ctx context.Context, dsn string) (t restTarget, stop func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return t, nil, err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return t, nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return t, nil, err
	}
	cmd := exec.CommandContext(ctx, self, "rest-peer", "-addr", addr)
	cmd.Env = append(os.Environ(), "BENCH_DATABASE="+dsn)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return t, nil, err
	}
	stop = func() error {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		return nil
	}
	token, err := peerToken()
	t = restTarget{"http://" + addr, token, cmd.Process.Pid}
	for begin := time.Now(); err == nil; time.Sleep(20 * time.Millisecond) {
		var res *http.Response
		if res, err = http.Get(t.base + "/bare"); err == nil {
			return t, stop, res.Body.Close()
		}
		if time.Since(begin) < 10*time.Second {
			err = nil
		}
	}
	return t, nil, errors.Join(err, stop())
}

// restResult is what one measurement has shown.
type restResult struct {
	rate             float64
	p50, p99         time.Duration
	server, database time.Duration // CPU of a request
}

func (r restResult) String() string {
	return fmt.Sprintf("%9.0f %8s %8s  %6.0f + %-15.0f", r.rate, r.p50.Round(10*time.Microsecond),
		r.p99.Round(10*time.Microsecond), us(r.server), us(r.database))
}

func (r restResult) short() string {
	return fmt.Sprintf("%7.0f/s %5.0f + %-5.0f", r.rate, us(r.server), us(r.database))
}

func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

var restRequests atomic.Int64

// ask sends op to t for d.
func (s *service) ask(
	ctx context.Context, t restTarget, op restOperation, d time.Duration,
) (r restResult, err error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: restClients}}
	defer client.CloseIdleConnections()
	hs := make([]*histogram, restClients)
	var group errgroup.Group
	before, beforeAll := cpu(t.pid), s.usage()
	begin := time.Now()
	for i := range hs {
		h := &histogram{}
		hs[i] = h
		group.Go(func() error {
			for time.Since(begin) < d && ctx.Err() == nil {
				at := time.Now()
				if err := t.send(ctx, client, op); err != nil {
					return err
				}
				h.add(time.Since(at))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return r, err
	}
	took := time.Since(begin)
	after, afterAll := cpu(t.pid), s.usage()
	var n int64
	for _, h := range hs {
		n += h.n
	}
	return restResult{
		rate:     float64(n) / took.Seconds(),
		p50:      quantile(hs, 0.5),
		p99:      quantile(hs, 0.99),
		server:   (after - before) / time.Duration(n),
		database: (afterAll.database - beforeAll.database) / time.Duration(n),
	}, nil
}

func (t restTarget) send(ctx context.Context, client *http.Client, op restOperation) error {
	method, body := http.MethodGet, io.Reader(nil)
	if op.body != nil {
		method, body = http.MethodPost, bytes.NewReader(op.body(restRequests.Add(1)))
	}
	req, err := http.NewRequestWithContext(ctx, method, t.base+op.path, body)
	if err != nil {
		return err
	}
	req.Header = http.Header{
		"Authorization":   {"Bearer " + t.token},
		"Accept-Encoding": {"identity"},
		"Content-Type":    {"application/json"},
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(res.Body)
		return fmt.Errorf("%d: %s", res.StatusCode, text)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}
