// Command example prints the latest reading of every sensor. It is the Go program of quickstart.md.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/oei-ms/oei-ms/gen/client"
)

func main() {
	ctx := context.Background()
	api, err := client.NewClientWithResponses("http://localhost:8000")
	if err != nil {
		log.Fatal(err)
	}
	login, err := api.LoginWithResponse(ctx, client.LoginRequest{
		Username: "admin",
		Password: "correct horse battery",
	})
	if err != nil {
		log.Fatal(err)
	}
	if login.JSON200 == nil {
		log.Fatalf("login: %s", login.Body)
	}
	authorize := func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+login.JSON200.AccessToken)
		return nil
	}

	latest, err := api.ListLatestReadingsWithResponse(ctx, nil, authorize)
	if err != nil {
		log.Fatal(err)
	}
	if latest.JSON200 == nil {
		log.Fatalf("latest readings: %s", latest.Body)
	}
	for _, reading := range *latest.JSON200 {
		value := "no value"
		if !reading.Value.IsNull() {
			value = fmt.Sprint(reading.Value.MustGet())
		}
		fmt.Println(reading.SensorID, reading.Timestamp, value, reading.Quality)
	}
}
