import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;

/**
 * Carries out the statements of POST /run?sql=...&sql=... in one transaction: $1 is what the query before has found.
 * With `attempts`, at SERIALIZABLE, and so often while it is refused. JDBC_URL and PORT configure it.
 */
public class Statements {
    private static final BlockingQueue<Connection> IDLE = new LinkedBlockingQueue<>();

    public static void main(String[] words) throws Exception {
        for (int i = 0; i < 10; i++) {
            Connection connection = DriverManager.getConnection(System.getenv("JDBC_URL"));
            connection.setAutoCommit(false);
            IDLE.add(connection);
        }
        int port = Integer.parseInt(System.getenv("PORT"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.createContext("/run", Statements::answer);
        server.setExecutor(Executors.newCachedThreadPool());
        server.start();
    }

    private static void answer(HttpExchange exchange) throws IOException {
        List<String> statements = new ArrayList<>();
        int attempts = 0;
        for (String word : exchange.getRequestURI().getRawQuery().split("&")) {
            String value = URLDecoder.decode(word.substring(word.indexOf('=') + 1), StandardCharsets.UTF_8);
            if (word.startsWith("sql=")) statements.add(value);
            else attempts = Integer.parseInt(value);
        }
        int status = 200;
        try {
            Connection connection = IDLE.take();
            try {
                runOften(connection, statements, attempts);
            } finally {
                IDLE.add(connection);
            }
        } catch (SQLException failed) {
            status = isRefusal(failed) ? 409 : 500;
        } catch (InterruptedException stopped) {
            status = 500;
        }
        exchange.sendResponseHeaders(status, -1);
        exchange.close();
    }

    private static void runOften(Connection connection, List<String> statements, int attempts) throws SQLException {
        if (attempts > 0) connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        for (int left = attempts; ; left--) {
            try {
                run(connection, statements);
                connection.commit();
                return;
            } catch (SQLException failed) {
                connection.rollback();
                if (!isRefusal(failed) || left <= 1) throw failed;
            }
        }
    }

    private static void run(Connection connection, List<String> statements) throws SQLException {
        int found = 0;
        for (String text : statements) {
            try (PreparedStatement statement = connection.prepareStatement(text.replace("$1", "?"))) {
                if (text.contains("$1")) statement.setInt(1, found);
                if (!statement.execute()) continue;
                ResultSet rows = statement.getResultSet();
                if (rows.next()) found = rows.getInt(1);
            }
        }
    }

    private static boolean isRefusal(SQLException failed) {
        return Set.of("40001", "40P01").contains(failed.getSQLState());
    }
}
