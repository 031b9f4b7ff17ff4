// Java's readers of event-streams: `Read NAME` reads each URL of standard input and prints what was given, as JSON. A list
// has the events in their order; a text says how reading failed.
//
// Of the JDK alone: Debian has no library for event-streams in Java.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;

class Read {
    // As the JDK's own documentation reads a body line by line; what begins with `data:` is an event.
    static List<String> lines(HttpClient client, String url) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url)).build();
        try (Stream<String> lines = client.send(request, BodyHandlers.ofLines()).body()) {
            return lines.filter(line -> line.startsWith("data:")).map(line -> line.substring(5).strip()).collect(Collectors.toList());
        }
    }

    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        BufferedReader urls = new BufferedReader(new InputStreamReader(System.in));
        for (String url = urls.readLine(); url != null; url = urls.readLine()) {
            String told;
            try {
                // What is given is JSON already.
                told = "[" + String.join(",", lines(client, url)) + "]";
            } catch (Exception error) {
                told = '"' + error.getClass().getName() + '"';
            }
            System.out.println(told);
        }
    }
}
