package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/labstack/echo/v4"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwt"
	"github.com/lib/pq"
)

// peerKey signs the tokens of the peer.
var peerKey = []byte("a key of the benchmark, of 32 bytes")

// peerToken returns a token that the peer admits.
func peerToken() (string, error) {
	token, err := jwt.NewBuilder().Subject("1").Expiration(time.Now().Add(time.Hour)).Build()
	if err != nil {
		return "", err
	}
	signed, err := jwt.Sign(token, jwt.WithKey(jwa.HS256, peerKey))
	return string(signed), err
}

// plainServer answers what the service answers the way a plain handler does: a token by jwx, a
// statement by sqlx into structs, encoding/json. It validates, limits and counts nothing. With
// bare=true an operation answers a constant, without token and database: the limit of Echo.
type plainServer struct{ db *sqlx.DB }

// servePlain serves plainServer at addr until ctx ends.
func servePlain(ctx context.Context, addr string) error {
	db, err := sqlx.Open("postgres", os.Getenv("BENCH_DATABASE"))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(10)
	db.SetMaxIdleConns(10)
	s := plainServer{db}
	e := echo.New()
	e.GET("/bare", func(c echo.Context) error { return c.JSON(http.StatusOK, []int{}) })
	api := e.Group("/api", s.admit)
	api.GET("/data/latest", s.latest)
	api.GET("/data", s.readings)
	api.POST("/data", s.write)
	api.GET("/sensors", s.sensors)
	server := &http.Server{Addr: addr, Handler: e, ReadHeaderTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s plainServer) admit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if _, err := jwt.ParseRequest(c.Request(), jwt.WithKey(jwa.HS256, peerKey)); err != nil {
			return echo.NewHTTPError(http.StatusUnauthorized)
		}
		return next(c)
	}
}

type plainReading struct {
	SensorID  int64     `json:"sensor_id" db:"sensor_id"`
	Timestamp time.Time `json:"timestamp" db:"timestamp"`
	Value     *float64  `json:"value" db:"value"`
	Quality   int       `json:"quality" db:"quality"`
}

func (s plainServer) latest(c echo.Context) error {
	var rs []plainReading
	if err := s.db.SelectContext(c.Request().Context(), &rs, `
		SELECT sensor_id, timestamp, value, quality
		FROM latest
		WHERE sensor_id = ANY ($1)`, pq.Array(c.QueryParams()["sensor_id"])); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, rs)
}

func (s plainServer) readings(c echo.Context) error {
	var rs []plainReading
	if err := s.db.SelectContext(c.Request().Context(), &rs, `
		SELECT sensor_id, timestamp, value, quality
		FROM sensor_data
		WHERE sensor_id = ANY ($1)
		ORDER BY timestamp DESC
		LIMIT $2`, pq.Array(c.QueryParams()["sensor_id"]), c.QueryParam("limit")); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, rs)
}

func (s plainServer) sensors(c echo.Context) error {
	type sensor struct {
		ID        int64     `json:"id" db:"id"`
		GatewayID int64     `json:"gateway_id" db:"gateway_id"`
		Key       string    `json:"key" db:"key"`
		Name      string    `json:"name" db:"name"`
		Type      string    `json:"type" db:"type"`
		Unit      *string   `json:"unit" db:"unit"`
		Location  *string   `json:"location" db:"location"`
		IsActive  bool      `json:"is_active" db:"is_active"`
		CreatedAt time.Time `json:"created_at" db:"created_at"`
		UpdatedAt time.Time `json:"updated_at" db:"updated_at"`
	}
	var list []sensor
	if err := s.db.SelectContext(c.Request().Context(), &list, `
		SELECT
			id, gateway_id, key, name, type, unit, location, is_active, created_at, updated_at
		FROM sensors
		ORDER BY id
		LIMIT $1`, c.QueryParam("limit")); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, list)
}

// write stores readings; it neither keeps latest nor evaluates alarms.
func (s plainServer) write(c echo.Context) error {
	var body struct {
		Readings []plainReading `json:"readings"`
	}
	if err := c.Bind(&body); err != nil {
		return err
	}
	var sensors []int64
	var times []time.Time
	var values []float64
	for _, r := range body.Readings {
		sensors, times = append(sensors, r.SensorID), append(times, r.Timestamp)
		values = append(values, *r.Value)
	}
	if _, err := s.db.ExecContext(c.Request().Context(), `
		INSERT INTO sensor_data (sensor_id, timestamp, value, quality)
		SELECT *, 0
		FROM unnest($1::int[], $2::timestamptz[], $3::float8[])`,
		pq.Array(sensors), pq.Array(times), pq.Array(values)); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]int{"stored": len(sensors)})
}
