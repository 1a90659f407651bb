package oei_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	oei "github.com/oei-ms/oei-ms/client"
)

// Logs in, lists the sensors, reads a month of history and follows an alarm.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := oei.Dial(ctx, address, oei.Password("admin", password))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for sensor, err := range c.Sensors(ctx, &oei.SensorsParams{Type: new("temperature")}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(sensor.Key, sensor.Name, sensor.Unit)
	}
	history, err := c.History(ctx, oei.HistoryParams{
		SensorID: []oei.ID{1},
		Start:    time.Now().AddDate(0, 0, -30),
		End:      time.Now(),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(history.Series), "series")
	for message, err := range c.Live(ctx, oei.FromSensor(1), oei.Alarms(), oei.Snapshot()) {
		if err != nil {
			log.Fatal(err)
		}
		switch m := message.(type) {
		case oei.LiveAlarm:
			fmt.Println(m.Event.Kind)
		case oei.LiveReading:
			fmt.Println(m.Origin, m.Quality, m.Value)
			return
		}
	}
	// Output:
	// Bearing Bearing Cel
	// 1 series
	// snapshot good 29
}

func ExampleClient_UpdateSensor() {
	ctx := context.Background()
	c, err := oei.Dial(ctx, address, oei.Password("admin", password))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	sensor, err := c.UpdateSensor(ctx, 1, func(s *oei.Sensor) {
		s.Location = "Hall 3"
		s.MaxValue = oei.Value(120.0)
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(sensor.Location, sensor.MaxValue.MustGet())
	// Output: Hall 3 120
}

func ExampleClient_Export() {
	ctx := context.Background()
	c, err := oei.Dial(ctx, address, oei.Password("admin", password))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	n, sum := 0, 0.0
	for row, err := range c.Export(ctx, oei.ExportReadingsParams{SensorID: []oei.ID{1}}) {
		if err != nil {
			log.Fatal(err)
		}
		if value, err := row.Value.Get(); err == nil {
			n, sum = n+1, sum+value
		}
	}
	fmt.Println(n, "readings, mean", sum/float64(n))
	// Output: 1000 readings, mean 24.5
}

func ExampleProblem() {
	ctx := context.Background()
	c, err := oei.Dial(ctx, address, oei.Password("admin", password))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	_, err = c.Sensor(ctx, 1000)
	fmt.Println(errors.Is(err, oei.ErrNotFound))

	_, err = c.CreateSensor(ctx, oei.SensorCreate{
		Key:       new("bearing 2"),
		Name:      "Bearing 2",
		Type:      "temperature",
		GatewayID: 1,
	})
	if problem, ok := errors.AsType[*oei.Problem](err); ok {
		fmt.Println(problem.Status, problem.Type, problem.Errors[0].Field)
	}
	// Output:
	// true
	// 400 /problems/invalid-request key
}

func ExampleClient_SensorsPage() {
	ctx := context.Background()
	c, err := oei.Dial(ctx, address, oei.Password("admin", password))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	page, err := c.SensorsPage(ctx, &oei.SensorsParams{
		Type:  new("temperature"),
		Count: new(true),
		Limit: new(10),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(page.Total, page.Items[0].Name, page.HasNext())
	// Output: 1 Bearing false
}
